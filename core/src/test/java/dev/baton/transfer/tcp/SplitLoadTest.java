package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Loads that are large enough to come over two connections at a time.
@ExtendWith(KvThreads.class)
@Timeout(60)
class SplitLoadTest {
    private static final int BLOCK_TOKENS = 1024; // 512 KiB a block
    private static final int BLOCKS = 41;
    private static final int TOKENS = BLOCKS * BLOCK_TOKENS - 3;
    private static final int[] ALL = IntStream.range(0, BLOCKS).toArray();
    private static final int[] REVERSED =
            IntStream.range(0, BLOCKS).map(i -> BLOCKS - 1 - i).toArray();

    /// The proxy's threads by which blocks or sums have come: one for each connection.
    private final Set<Thread> seen = ConcurrentHashMap.newKeySet();
    private final CountDownLatch both = new CountDownLatch(2);

    private static TestInstance prefiller(Map<String, Object> extra) {
        assumeTrue(Files.exists(Path.of("/proc/self/maps")), "memory files need Linux");
        return TestInstance.sharing(KvRole.KV_PRODUCER, "p", BLOCK_TOKENS, BLOCKS, extra)
                .fill(1);
    }

    private static TestInstance decoder(Map<String, Object> extra) {
        return TestInstance.sharing(KvRole.KV_CONSUMER, "d", BLOCK_TOKENS, BLOCKS, extra);
    }

    /// Lets nothing pass before it has come by on two connections.
    private void meet() throws IOException, InterruptedException {
        if (seen.add(Thread.currentThread())) {
            both.countDown();
        }
        if (!both.await(20, TimeUnit.SECONDS)) {
            throw new IOException("all comes on one connection");
        }
    }

    private static KvProxy proxy(TestInstance prefiller, RemotePrefill params, KvProxy.OnSums hook) throws IOException {
        KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (_, block) -> {
            hook.pass(block);
            return List.of(block);
        });
        proxy.onSums(hook);
        return proxy;
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void bothPartsArriveAtTheSameTimeFromMemoryAndOverTcp(boolean shares) throws IOException {
        Map<String, Object> extra = Map.of("kv_shared_memory", shares);
        try (TestInstance prefiller = prefiller(extra);
                TestInstance decoder = decoder(extra)) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            try (KvProxy proxy = proxy(prefiller, params, _ -> meet())) {
                decoder.load("d", proxy.through(params), REVERSED, 0);
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvArrived("d", TOKENS, BLOCKS * decoder.pool.blockBytes()));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                for (int i = 0; i < BLOCKS; i++) {
                    assertThat(decoder.pool.block(REVERSED[i]).mismatch(prefiller.pool.block(i)))
                            .isEqualTo(-1);
                }
                assertThat(decoder.connector.stats().numTransfers()).isEqualTo(1);
            }
        }
    }

    @Test
    void aPrefillerWithRoomForOneConnectionServesBothPartsOverIt() {
        try (TestInstance prefiller = prefiller(Map.of("kv_max_connections", 1));
                TestInstance decoder = decoder(Map.of())) {
            decoder.load("d", prefiller.hold("r", ALL, TOKENS), ALL, 0);
            assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d", TOKENS, BLOCKS * decoder.pool.blockBytes()));
            assertThat(decoder.connector.stats().numFailedTransfers()).isZero();
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @Test
    void aBlockThatComesDamagedInBothOfItsTriesEndsTheOtherPartToo() throws IOException {
        CountDownLatch failed = new CountDownLatch(1);
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            AtomicReference<Thread> held = new AtomicReference<>();
            try (KvProxy proxy = proxy(prefiller, params, frame -> {
                meet();
                boolean holds = held.compareAndSet(null, Thread.currentThread())
                        || Thread.currentThread().equals(held.get());
                if (holds) {
                    failed.await();
                } else {
                    frame[frame.length - 5] ^= 1;
                }
            })) {
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextFailure("d")).contains("checksum");
                failed.countDown();
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void aCancelledLoadWritesNothingMoreInEitherPart() throws Exception {
        CountDownLatch cancelled = new CountDownLatch(1);
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            try (KvProxy proxy = proxy(prefiller, params, _ -> {
                meet();
                cancelled.await();
            })) {
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(both.await(20, TimeUnit.SECONDS)).isTrue();
                decoder.worker().cancelLoad("d");
                assertThat(decoder.nextFailure("d")).isEqualTo("cancelled");
                decoder.fillWith(0x5A);
                cancelled.countDown();
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                assertThat(decoder.holdsOnly(0x5A)).isTrue();
            }
        }
    }
}
