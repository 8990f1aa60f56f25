package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.PushParams;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// Which leases end with a decoder that is gone.
class LeaseHoldersTest {
    private static final int[] BLOCKS = {4, 7};

    private final List<Runnable> farewells = new ArrayList<>();
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1) {
        @Override
        public ScheduledFuture<?> schedule(Runnable command, long delay, TimeUnit unit) {
            farewells.add(command);
            return super.schedule(() -> {}, 0, unit);
        }
    };
    private final KvLeases leases =
            new KvLeases(Duration.ofMinutes(1), Duration.ofMinutes(1), System::nanoTime, event -> {});
    private final PushedPrompts prompts =
            new PushedPrompts(new KvCacheSpec("m", "float32", 4, 1, 1, 16, 16, 8), leases);
    private final LeaseHolders holders = new LeaseHolders(prompts, timer);

    @AfterEach
    void close() {
        timer.shutdownNow();
    }

    /// A prompt that is computed, and that `decoder` has asked for while it was not.
    private KvLease pushed(String decoder) {
        KvRequest request = new KvRequest("r", "r", new int[32], PushParams.prefill("xfer"));
        prompts.begin("xfer", request);
        holders.connected(decoder);
        holders.asked(decoder, "xfer");
        KvLease lease = leases.register("r", BLOCKS, 32).orElseThrow();
        prompts.of("r").orElseThrow().held(lease, BLOCKS, OptionalInt.empty());
        return lease;
    }

    private void goes(String decoder) {
        holders.disconnected(decoder, false);
        farewells.forEach(Runnable::run);
        farewells.clear();
    }

    @Test
    void aPushedPromptEndsWithItsDecoder() {
        KvLease lease = pushed("first");
        goes("first");
        assertThat(lease.outcome()).contains(KvLease.Outcome.EXPIRED);
    }

    @Test
    void aPushedPromptThatAnotherDecoderFetchesIsKeptUntilThatOneIsGoneToo() {
        KvLease lease = pushed("first");
        holders.connected("second");
        holders.asked("second", lease.handle());
        goes("first");
        assertThat(lease.outcome()).isEmpty();
        goes("second");
        assertThat(lease.outcome()).contains(KvLease.Outcome.EXPIRED);
    }
}
