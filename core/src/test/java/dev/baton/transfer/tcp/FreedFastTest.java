package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseExpired;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.RemotePrefill;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/// Two seconds after a decoder has disappeared nothing is held for it, though leases last for thirty.
@ExtendWith(KvThreads.class)
class FreedFastTest {
    private static final int SECONDS_2 = 2_000;
    private static final int SECONDS_8 = 8_000; // of a lease of 30
    private static final int[] ALL = IntStream.range(0, 8).toArray();

    private static TestInstance decoder(String engineId) {
        return new TestInstance(KvRole.KV_CONSUMER, engineId, 16, 8, TestInstance.PATIENT);
    }

    @Test
    void blocksOfARequestThatWaitsAreFreeAfterItsDecoderDied() throws InterruptedException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of())) {
            TestInstance decoder = decoder("d");
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            assertThat(decoder.matched("d", params, 128, 0)).isEqualTo(128);
            Thread.sleep(1_500); // by now the prefiller has heard of it
            assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            decoder.closeAbruptly();
            assertThat(prefiller.nextEvent(SECONDS_8)).isEqualTo(new LeaseExpired("r"));
        }
    }

    /// A load that has begun and takes its time.
    private static KvProxy slowLoad(TestInstance prefiller, TestInstance decoder, RemotePrefill params)
            throws Exception {
        CountDownLatch begun = new CountDownLatch(3);
        KvProxy slow = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
            begun.countDown();
            Thread.sleep(50);
            return List.of(block);
        });
        decoder.load("d", slow.through(params), ALL, 0);
        begun.await();
        return slow;
    }

    @Test
    void blocksThatAreBeingLoadedAreFreeOnBothSidesAfterTheDecoderDied() throws Exception {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of())) {
            TestInstance decoder = decoder("d");
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            try (KvProxy _ = slowLoad(prefiller, decoder, params)) {
                decoder.closeAbruptly();
                assertThat(decoder.nextFailure("d")).contains("closed");
                assertThat(prefiller.nextEvent(SECONDS_8)).isEqualTo(new LeaseExpired("r"));
            }
        }
    }

    @Test
    void blocksAreFreeOnBothSidesAfterTheClientOfALoadHasGone() throws Exception {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = decoder("d")) {
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            try (KvProxy _ = slowLoad(prefiller, decoder, params)) {
                decoder.worker().cancelLoad("d");
                assertThat(decoder.nextEvent(SECONDS_8).requestId()).isEqualTo("d");
                assertThat(prefiller.nextEvent(SECONDS_8)).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void theBlocksOfADecoderAreFreeAfterItsPrefillerDied() throws Exception {
        TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
        try (TestInstance decoder = decoder("d")) {
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            try (KvProxy _ = slowLoad(prefiller, decoder, params)) {
                prefiller.closeAbruptly();
                assertThat(decoder.nextEvent(SECONDS_8).requestId()).isEqualTo("d");
            }
        }
    }

    @Test
    void aDecoderWhoseConnectionBrokeButLivesKeepsItsLease() throws Exception {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of()).fill(1);
                TestInstance decoder = decoder("d")) {
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> List.of(block))) {
                RemotePrefill there = proxy.through(params);
                assertThat(decoder.matched("d", there, 128, 0)).isEqualTo(128);
                for (int i = 0; i < 4; i++) {
                    Thread.sleep(600);
                    proxy.cut();
                }
                assertThat(prefiller.worker().numLeases()).isEqualTo(1);
                decoder.load("d", there, ALL, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void aLeaseThatAnotherDecoderAsksForIsKept() throws InterruptedException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of()).fill(1);
                TestInstance second = decoder("second")) {
            TestInstance first = decoder("first");
            RemotePrefill params = prefiller.hold("r", ALL, 128);
            assertThat(first.matched("d", params, 128, 0)).isEqualTo(128);
            Thread.sleep(1_500); // by now the prefiller has heard of it
            first.closeAbruptly();
            assertThat(second.matched("d", params, 128, 0)).isEqualTo(128);
            Thread.sleep(SECONDS_2);
            assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            second.load("d", params, ALL, 0);
            assertThat(second.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }
}
