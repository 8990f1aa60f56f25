package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.KvFailed;
import dev.baton.transfer.KvEvent.LeaseExpired;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs over a network that damages, delays and loses, and leases that end at the wrong moment.
@ExtendWith(KvThreads.class)
@Timeout(120)
class TcpFaultsTest {
    private static final int BLOCKS = 8;
    private static final int TOKENS = BLOCKS * 16;
    private static final int BLOCK_HEADER_BYTES = Limits.FRAME_HEADER_BYTES + Limits.BLOCK_BODY_BYTES;
    private static final int[] ALL = IntStream.range(0, BLOCKS).toArray();

    private static TestInstance prefiller(Map<String, Object> extra) {
        return TestInstance.prefiller(16, BLOCKS, extra).fill(1);
    }

    private static TestInstance decoder(Map<String, Object> extra) {
        return TestInstance.decoder(16, BLOCKS, extra).fill(2);
    }

    private static void assertSamePools(TestInstance decoder, TestInstance prefiller) {
        for (int block : ALL) {
            assertThat(decoder.block(block)).isEqualTo(prefiller.block(block));
        }
    }

    /// Writes a pattern over the whole pool and checks that nobody writes into it any more.
    private static void assertNobodyWrites(TestInstance decoder) throws InterruptedException {
        decoder.fillWith(0x5A);
        Thread.sleep(200);
        assertThat(decoder.holdsOnly(0x5A)).isTrue();
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
    void bitFlippedOnceIsHealedByFetchingTheBlockAgain(long seed) throws IOException {
        Random random = new Random(seed);
        int victim = random.nextInt(BLOCKS);
        try (TestInstance prefiller = prefiller(Map.of());
                // a flipped length or type may leave the decoder waiting for bytes that never come
                TestInstance decoder = decoder(Map.of("kv_peer_timeout", 2))) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            // odd seeds damage the payload, even ones the header
            boolean payload = seed % 2 == 1;
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                if (ordinal == victim) {
                    int at = payload
                            ? BLOCK_HEADER_BYTES + random.nextInt(block.length - BLOCK_HEADER_BYTES)
                            : random.nextInt(BLOCK_HEADER_BYTES);
                    block[at] ^= (byte) (1 << random.nextInt(8));
                }
                return List.of(block);
            })) {
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextEvent())
                        .isEqualTo(new KvArrived("d", TOKENS, BLOCKS * decoder.pool.blockBytes()));
                assertSamePools(decoder, prefiller);
                if (payload) {
                    assertThat(proxy.blocksPassed()).isEqualTo(BLOCKS + 1);
                    assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(1);
                }
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 5, 8, 17, 20, 24, 28, BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES + 4095})
    void bitFlippedTwiceFailsTheLoad(int at) throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of("kv_peer_timeout", 1))) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                block[at] ^= 0x10;
                return List.of(block);
            })) {
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextFailure("d")).isNotBlank();
                assertNobodyWrites(decoder);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void payloadsOfTwoBlocksSwappedAreDetected() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            byte[][] held = new byte[1][];
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                if (ordinal % 2 == 0) {
                    held[0] = block;
                    return List.of();
                }
                byte[] first = held[0].clone();
                byte[] second = block.clone();
                int bytes = block.length - BLOCK_HEADER_BYTES;
                System.arraycopy(block, BLOCK_HEADER_BYTES, first, BLOCK_HEADER_BYTES, bytes);
                System.arraycopy(held[0], BLOCK_HEADER_BYTES, second, BLOCK_HEADER_BYTES, bytes);
                return List.of(first, second);
            })) {
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextFailure("d")).contains("checksum");
                assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(2 * BLOCKS);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    @Test
    void blockOfAnotherRequestInTheRightPlaceIsDetected() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill mine = prefiller.hold("mine", new int[] {0}, 16);
            RemotePrefill other = prefiller.hold("other", new int[] {1}, 16);
            byte[][] recorded = new byte[1][];
            try (KvProxy recorder = new KvProxy(prefiller.pool.blockBytes(), other, (ordinal, block) -> {
                recorded[0] = block.clone();
                return List.of(block);
            })) {
                decoder.load("d-other", recorder.through(other), new int[] {1}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("other"));
            }
            try (KvProxy replayer = new KvProxy(prefiller.pool.blockBytes(), mine, (ordinal, block) -> {
                // the other request's payload and its checksum, under this request's epoch
                byte[] forged = recorded[0].clone();
                System.arraycopy(block, 0, forged, 0, BLOCK_HEADER_BYTES - Integer.BYTES);
                return List.of(forged);
            })) {
                decoder.load("d-mine", replayer.through(mine), new int[] {0}, 0);
                assertThat(decoder.nextFailure("d-mine")).contains("checksum");
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("mine"));
            }
        }
    }

    @Test
    void cutConnectionIsReplacedOnceAndOnlyTheRestIsFetched() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            KvProxy[] self = new KvProxy[1];
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                if (ordinal == 5) {
                    // what was passed on before must be there before the cut
                    await().until(() -> same(decoder, prefiller, 4));
                    self[0].cut();
                }
                return List.of(block);
            })) {
                self[0] = proxy;
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertSamePools(decoder, prefiller);
                assertThat(proxy.connections()).isGreaterThanOrEqualTo(2);
                assertThat(proxy.blocksPassed()).isLessThan(2 * BLOCKS);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            }
        }
    }

    private static boolean same(TestInstance decoder, TestInstance prefiller, int block) {
        return Arrays.equals(decoder.block(block), prefiller.block(block));
    }

    @Test
    void peerThatFallsSilentIsGivenUpWithinItsTimeout() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of("kv_lease_duration", 2, "kv_send_timeout", 1));
                TestInstance decoder = decoder(Map.of("kv_peer_timeout", 0.5))) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            KvProxy[] self = new KvProxy[1];
            try (KvProxy proxy = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                if (ordinal == 3) {
                    self[0].goSilent();
                }
                return List.of(block);
            })) {
                self[0] = proxy;
                long start = System.nanoTime();
                decoder.load("d", proxy.through(params), ALL, 0);
                assertThat(decoder.nextFailure("d")).contains("no progress");
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(8));
                assertNobodyWrites(decoder);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("r")); // the RELEASE was lost too
            }
        }
    }

    @Test
    void leaseThatNobodyAsksForExpiresOnce() throws InterruptedException {
        try (TestInstance prefiller = prefiller(Map.of("kv_lease_duration", 1));
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("r"));
            assertThat(prefiller.connector.stats().numKvExpiredReqs()).isEqualTo(1);
            decoder.load("d", params, ALL, 0);
            assertThat(decoder.nextFailure("d")).contains("expired");
            Thread.sleep(300); // the late RELEASE changes nothing
            assertThat(prefiller.events).isEmpty();
        }
    }

    @Test
    void heartbeatsKeepALeaseWhileItsRequestWaits() throws InterruptedException {
        Map<String, Object> shortLease =
                Map.of("kv_lease_duration", 2, "kv_lease_extension", 2, "kv_heartbeat_interval", 0.1);
        try (TestInstance prefiller = prefiller(shortLease);
                TestInstance decoder = decoder(shortLease)) {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            RemotePrefill unwatched = prefiller.hold("unwatched", ALL, TOKENS);
            assertThat(decoder.matched("d", params, TOKENS, 0)).isEqualTo(TOKENS);
            Thread.sleep(5_000);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("unwatched"));
            assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            decoder.load("d", params, ALL, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(unwatched.requestId()).isNotEqualTo(params.requestId());
        }
    }

    @Test
    void leaseThatExpiresDuringASlowReadFencesTheReaderFirst() throws Exception {
        // Blocks of 512 KiB, so that the sockets' buffers cannot hold them all.
        Map<String, Object> extra = Map.of("kv_lease_duration", 1.5, "kv_lease_extension", 0.1);
        int[] ids = IntStream.range(0, 64).toArray();
        try (TestInstance prefiller = TestInstance.prefiller(2048, 64, extra).fill(1);
                TestInstance decoder = TestInstance.decoder(2048, 64, Map.of("kv_heartbeat_interval", 100))
                        .fill(2)) {
            byte[] before = decoder.pool.segment().toArray(ValueLayout.JAVA_BYTE);
            byte[] sent = prefiller.pool.segment().toArray(ValueLayout.JAVA_BYTE);
            RemotePrefill params = prefiller.hold("r", ids, 64 * 2048);
            try (KvProxy slow = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                Thread.sleep(100);
                return List.of(block);
            })) {
                decoder.load("d", slow.through(params), ids, 0);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("r"));
                // From here on the blocks may hold something else: none of it may ever arrive.
                prefiller.fillWith(0x77);
                assertThat(decoder.nextFailure("d")).contains("expired");
                byte[] after = decoder.pool.segment().toArray(ValueLayout.JAVA_BYTE);
                int late = 0;
                for (int i = 0; i < after.length; i++) {
                    if (after[i] != before[i] && after[i] != sent[i]) {
                        late++;
                    }
                }
                assertThat(late).as("bytes read after expiry").isZero();
                assertThat(slow.blocksPassed()).isBetween(1, 63);
            }
        }
    }

    @Test
    void droppedLeaseIsReportedOnceTheReaderHasStopped() throws Exception {
        int[] ids = IntStream.range(0, 64).toArray();
        try (TestInstance prefiller = TestInstance.prefiller(2048, 64, Map.of()).fill(1);
                TestInstance decoder = TestInstance.decoder(2048, 64, Map.of()).fill(2)) {
            RemotePrefill params = prefiller.hold("r", ids, 64 * 2048);
            CountDownLatch begun = new CountDownLatch(1);
            try (KvProxy slow = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                begun.countDown();
                Thread.sleep(200); // all of them take 13 s
                return List.of(block);
            })) {
                decoder.load("d", slow.through(params), ids, 0);
                begun.await();
                prefiller.worker().dropLease("r");
                prefiller.worker().dropLease("r");
                assertThat(prefiller.nextEvent(8_000)).isEqualTo(new LeaseReleased("r"));
                assertThat(decoder.nextFailure("d")).contains("released");
            }
        }
    }

    @Test
    void cancelledLoadStopsWritingThenReportsThenReleases() throws Exception {
        int[] ids = IntStream.range(0, 64).toArray();
        try (TestInstance prefiller = TestInstance.prefiller(512, 64, Map.of()).fill(1);
                TestInstance decoder = TestInstance.decoder(512, 64, Map.of()).fill(2)) {
            for (int round = 0; round < 10; round++) {
                RemotePrefill params = prefiller.hold("r", ids, 64 * 512);
                CountDownLatch begun = new CountDownLatch(1 + round);
                try (KvProxy slow = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
                    begun.countDown();
                    Thread.sleep(50); // all of them take 3 s
                    return List.of(block);
                })) {
                    decoder.load("d", slow.through(params), ids, 0);
                    begun.await();
                    decoder.worker().cancelLoad("d");
                    assertThat(decoder.nextEvent(2_000)).isEqualTo(new KvFailed("d", "cancelled"));
                    decoder.fillWith(0x5A);
                    assertThat(prefiller.nextEvent(8_000)).isEqualTo(new LeaseReleased("r"));
                    assertThat(decoder.holdsOnly(0x5A)).isTrue();
                    decoder.finished("d", params, ids, 0, false);
                }
            }
        }
    }

    @Test
    void waitingLoadIsCancelledAtOnce() throws Exception {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of("kv_connections_per_peer", 1))) {
            RemotePrefill first = prefiller.hold("r1", new int[] {0}, 16);
            RemotePrefill second = prefiller.hold("r2", new int[] {1}, 16);
            CountDownLatch gate = new CountDownLatch(1);
            try (KvProxy slow = new KvProxy(prefiller.pool.blockBytes(), first, (ordinal, block) -> {
                gate.await();
                return List.of(block);
            })) {
                decoder.load("d1", slow.through(first), new int[] {0}, 0);
                decoder.load("d2", slow.through(second), new int[] {1}, 0);
                decoder.worker().cancelLoad("d2");
                assertThat(decoder.nextEvent(500)).isEqualTo(new KvFailed("d2", "cancelled"));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r2"));
                gate.countDown();
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r1"));
            }
        }
    }

    @Test
    void slowPrefillerDelaysOnlyItsOwnLoads() throws Exception {
        try (TestInstance slowOne = new TestInstance(KvRole.KV_BOTH, "slow", 16, BLOCKS, TestInstance.PATIENT).fill(3);
                TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of("kv_connections_per_peer", 2))) {
            RemotePrefill probe = slowOne.hold("s0", new int[] {0}, 16);
            CountDownLatch gate = new CountDownLatch(1);
            try (KvProxy slow = new KvProxy(slowOne.pool.blockBytes(), probe, (ordinal, block) -> {
                gate.await();
                return List.of(block);
            })) {
                decoder.load("s0", slow.through(probe), new int[] {0}, 0);
                for (int i = 1; i < 4; i++) {
                    decoder.load("s" + i, slow.through(slowOne.hold("s" + i, new int[] {i}, 16)), new int[] {i}, 0);
                }
                RemotePrefill quick = prefiller.hold("r", new int[] {5}, 16);
                decoder.load("d", quick, new int[] {5}, 0);
                assertThat(decoder.nextEvent(2_000)).isEqualTo(new KvArrived("d", 16, decoder.pool.blockBytes()));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                gate.countDown();
                for (int i = 0; i < 4; i++) {
                    assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                    assertThat(slowOne.nextEvent()).isInstanceOf(LeaseReleased.class);
                }
            }
        }
    }

    @Test
    void closeFailsLoadsInFlightAndExpiresLeases() throws Exception {
        TestInstance prefiller = prefiller(Map.of());
        TestInstance decoder = decoder(Map.of("kv_connections_per_peer", 1));
        RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
        CountDownLatch gate = new CountDownLatch(1);
        try (KvProxy stuck = new KvProxy(prefiller.pool.blockBytes(), params, (ordinal, block) -> {
            gate.await();
            return List.of(block);
        })) {
            decoder.load("d1", stuck.through(params), ALL, 0);
            decoder.load("d2", stuck.through(params), ALL, 0);
            decoder.closeAbruptly();
            assertThat(List.of(decoder.nextEvent(), decoder.nextEvent()))
                    .containsExactlyInAnyOrder(
                            new KvFailed("d1", "the connector was closed"),
                            new KvFailed("d2", "the connector was closed"));
            assertThat(decoder.worker().numLoads()).isZero();
            prefiller.closeAbruptly();
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseExpired("r"));
            assertThat(prefiller.worker().numLeases()).isZero();
            assertThat(KvThreads.running()).isEmpty();
            gate.countDown();
        }
    }

    @Test
    void unreachablePrefillerFailsTheLoad() throws Exception {
        RemotePrefill params;
        try (TestInstance prefiller = prefiller(Map.of())) {
            params = prefiller.hold("r", ALL, TOKENS);
            prefiller.worker().dropLease("r");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
        try (TestInstance decoder = decoder(Map.of())) {
            decoder.load("d", params, ALL, 0);
            assertThat(decoder.nextFailure("d")).contains("refused");
        }
    }

    @Test
    void idOfARequestUsedAgainDoesNotServeTheOldHandOff() {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill old = prefiller.hold("r", ALL, TOKENS);
            prefiller.worker().dropLease("r");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            RemotePrefill now = prefiller.hold("r", ALL, TOKENS); // same id, same blocks, another prompt
            decoder.load("d-old", old, ALL, 0);
            assertThat(decoder.nextFailure("d-old")).contains("released");
            decoder.load("d-now", now, ALL, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @Test
    void blocksThatTheLeaseDoesNotCoverAreRefused() {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            RemotePrefill params = prefiller.hold("r", new int[] {0, 1}, 32);
            RemotePrefill forged = new RemotePrefill(
                    params.engineId(), params.requestId(), List.of(0, 7), params.host(), params.port(), 1, 32);
            decoder.load("d", forged, new int[] {0, 1}, 0);
            assertThat(decoder.nextFailure("d")).contains("is not 7");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        }
    }

    @Test
    void requestWithAnIdThatCannotTravelIsNotHeld() {
        try (TestInstance prefiller = prefiller(Map.of())) {
            for (String id : List.of("a\nb", "x".repeat(600))) {
                assertThat(prefiller.finished(id, KvTransferParams.REMOTE_DECODE, new int[] {0}, 16, true))
                        .isEqualTo(new KvHold.FreeNow());
            }
        }
    }

    @Test
    void onlyACompletedRequestOfAProducerIsHeld() {
        try (TestInstance prefiller = prefiller(Map.of());
                TestInstance decoder = decoder(Map.of())) {
            for (KvHold hold : List.of(
                    prefiller.finished("r", KvTransferParams.REMOTE_DECODE, new int[] {0}, 16, false),
                    prefiller.finished("r", KvTransferParams.REMOTE_DECODE, new int[0], 0, true),
                    decoder.finished("r", KvTransferParams.REMOTE_DECODE, new int[] {0}, 16, true))) {
                assertThat(hold).isEqualTo(new KvHold.FreeNow());
            }
        }
    }
}
