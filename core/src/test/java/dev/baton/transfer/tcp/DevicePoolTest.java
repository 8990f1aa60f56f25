package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.KvFirstToken;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.PushParams;
import dev.baton.transfer.RemotePrefill;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs between pools on devices: through host memory, and from device to device.
@ExtendWith(KvThreads.class)
@Timeout(60)
class DevicePoolTest {
    private static final int BLOCKS = 8;
    private static final int TOKENS = BLOCKS * 16 - 3;
    private static final int[] ALL = IntStream.range(0, BLOCKS).toArray();
    private static final int[] REVERSED =
            IntStream.range(0, BLOCKS).map(i -> BLOCKS - 1 - i).toArray();
    private static final KvCacheSpec SPEC = new KvCacheSpec(
            "m", "float32", 4, TestInstance.LAYERS, TestInstance.KV_HEADS, TestInstance.HEAD_DIM, 16, BLOCKS);

    private static TestInstance instance(KvRole role, FakeDevice device, Map<String, Object> extra) {
        return new TestInstance(
                new KvTransferConfig(
                        TcpConnector.NAME,
                        role,
                        role.name(),
                        "127.0.0.1",
                        0,
                        KvLoadFailurePolicy.RECOMPUTE,
                        TestInstance.with(TestInstance.PATIENT, extra)),
                SPEC,
                device.pool());
    }

    private static FakeDevice device(String host, long seed) {
        FakeDevice device = new FakeDevice(SPEC, host);
        Random random = new Random(seed);
        for (long i = 0; i < device.memory.byteSize(); i += Long.BYTES) {
            device.memory.set(ValueLayout.JAVA_LONG, i, random.nextLong());
        }
        return device;
    }

    /// What is tried with a prefiller and a decoder on two devices of one host.
    @FunctionalInterface
    private interface Trial {
        void run(TestInstance prefiller, TestInstance decoder, FakeDevice from, FakeDevice to);
    }

    private static void betweenDevices(Trial trial) {
        FakeDevice from = device("h", 1);
        FakeDevice to = device("h", 2);
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, from, Map.of());
                TestInstance decoder = instance(KvRole.KV_CONSUMER, to, Map.of())) {
            trial.run(prefiller, decoder, from, to);
        }
    }

    private static void assertLoads(
            TestInstance prefiller, TestInstance decoder, FakeDevice from, FakeDevice to, String id) {
        RemotePrefill params = prefiller.hold(id, ALL, TOKENS);
        decoder.load("d-" + id, params, REVERSED, 0);
        assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d-" + id, TOKENS, BLOCKS * SPEC.blockBytes()));
        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased(id));
        for (int i = 0; i < BLOCKS; i++) {
            assertThat(to.block(REVERSED[i]).mismatch(from.block(i))).isEqualTo(-1);
        }
    }

    /// @param way what the decoder counts as its pulls and its blocks through host memory
    @ParameterizedTest
    @CsvSource({
        "true, true, this host, true",
        "false, true, this host, false",
        "true, false, this host, false",
        "true, true, another host, false"
    })
    void blocksGoFromDeviceToDeviceWhereBothSidesOfOneHostAllowItAndOverTcpElsewhere(
            boolean prefillerShares, boolean decoderShares, String host, boolean isShared) {
        FakeDevice from = device("this host", 1);
        FakeDevice to = device(host, 2);
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, from, Map.of("kv_cuda_ipc", prefillerShares));
                TestInstance decoder = instance(KvRole.KV_CONSUMER, to, Map.of("kv_cuda_ipc", decoderShares))) {
            assertLoads(prefiller, decoder, from, to, "r1");
            assertLoads(prefiller, decoder, from, to, "r2");
            assertThat(to.pulls).hasValue(isShared ? 2 : 0);
            assertThat(to.writes).hasValue(isShared ? 0 : 2 * BLOCKS);
            assertThat(to.opened).hasValue(isShared ? 1 : 0);
            assertThat(prefiller.connector.stats().bytesSent())
                    .isEqualTo(decoder.connector.stats().bytesTransferred())
                    .isPositive();
        }
        assertThat(to.opened).as("pools of others left open").hasValue(0);
        assertThat(to.stagings).as("staging buffers left").hasValue(0);
        assertThat(from.stagings).as("staging buffers left").hasValue(0);
    }

    /// Has a prompt pushed that the prefiller is done with before or after the decoder asks.
    private static void assertPushes(
            TestInstance prefiller,
            TestInstance decoder,
            FakeDevice from,
            FakeDevice to,
            String id,
            boolean askedFirst) {
        KvRequest given = new KvRequest(id, id, new int[TOKENS], PushParams.prefill("x-" + id));
        KvTransferParams params = PushParams.decode("x-" + id, "KV_PRODUCER", PushParams.port(prefiller.connector));
        KvRequest wanted = new KvRequest("d-" + id, "d-" + id, new int[TOKENS], params);
        assertThat(prefiller.scheduler().numNewMatchedTokens(given, 0)).isZero();
        if (askedFirst) {
            decoder.load(wanted, REVERSED, 0);
        }
        KvHold hold = prefiller
                .scheduler()
                .requestFinished(new KvFinished(given, new int[TOKENS + 1], TOKENS + 1, ALL, TOKENS, true));
        assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
        if (!askedFirst) {
            decoder.load(wanted, REVERSED, 0);
        }
        assertThat(decoder.nextEvent()).isEqualTo(new KvFirstToken("d-" + id, 0));
        assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d-" + id, TOKENS, BLOCKS * SPEC.blockBytes()));
        assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased(id));
        for (int i = 0; i < BLOCKS; i++) {
            assertThat(to.block(REVERSED[i]).mismatch(from.block(i))).isEqualTo(-1);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void pushedBlocksAreCopiedFromDeviceToDeviceOnceTheyAreComputed(boolean askedFirst) {
        betweenDevices((prefiller, decoder, from, to) -> {
            assertPushes(prefiller, decoder, from, to, "r1", askedFirst);
            to.flips.set(1);
            assertPushes(prefiller, decoder, from, to, "r2", askedFirst);
            assertThat(to.pulls).hasValue(3);
            assertThat(to.writes).hasValue(0);
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(1);
        });
    }

    @Test
    void pushedBlocksThatChangeWhileTheyAreCopiedFailTheLoad() {
        betweenDevices((prefiller, decoder, from, to) -> {
            KvRequest given = new KvRequest("r", "r", new int[TOKENS], PushParams.prefill("x"));
            KvTransferParams params = PushParams.decode("x", "KV_PRODUCER", PushParams.port(prefiller.connector));
            to.beforePull = () -> {
                prefiller.worker().dropLease("r");
                await().until(() -> prefiller.worker().numLeases() == 0);
                from.memory.fill((byte) 0); // another request has the blocks now
            };
            assertThat(prefiller.scheduler().numNewMatchedTokens(given, 0)).isZero();
            assertThat(prefiller.finished(given, ALL, TOKENS, true)).isInstanceOf(KvHold.UnderLease.class);
            decoder.load(new KvRequest("d", "d", new int[TOKENS], params), ALL, 0);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.nextFailure("d")).contains("released");
            assertThat(decoder.connector.stats().numChecksumErrors()).isPositive();
        });
    }

    @Test
    void poolThatCannotBeOpenedIsReadOverTcp() {
        betweenDevices((prefiller, decoder, from, to) -> {
            from.forgetHandle();
            assertLoads(prefiller, decoder, from, to, "r");
            assertThat(to.pulls).hasValue(0);
            assertThat(to.writes).hasValue(BLOCKS);
        });
    }

    @Test
    void poolsOnADeviceAndInHostMemoryExchangeBlocks() {
        FakeDevice from = device("h", 1);
        try (TestInstance prefiller = instance(KvRole.KV_PRODUCER, from, Map.of());
                TestInstance decoder =
                        new TestInstance(KvRole.KV_CONSUMER, "d", 16, BLOCKS, TestInstance.PATIENT, Map.of(), 1, 1)) {
            decoder.load("d", prefiller.hold("r", ALL, TOKENS), REVERSED, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            for (int i = 0; i < BLOCKS; i++) {
                assertThat(decoder.pool.block(REVERSED[i]).mismatch(from.block(i)))
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void byteFlippedOnceBetweenDevicesIsHealedByCopyingTheBlockAgain() {
        betweenDevices((prefiller, decoder, from, to) -> {
            to.flips.set(1);
            assertLoads(prefiller, decoder, from, to, "r");
            assertThat(to.pulls).hasValue(2);
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(1);
        });
    }

    @Test
    void byteFlippedTwiceBetweenDevicesFailsTheLoad() {
        betweenDevices((prefiller, decoder, from, to) -> {
            to.flips.set(2);
            decoder.load("d", prefiller.hold("r", ALL, TOKENS), ALL, 0);
            assertThat(decoder.nextFailure("d")).contains("checksum");
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        });
    }

    @Test
    void leaseThatEndsWhileBlocksAreCopiedFailsTheLoadIfTheyHaveChanged() {
        betweenDevices((prefiller, decoder, from, to) -> {
            to.beforePull = () -> {
                prefiller.worker().dropLease("r");
                await().until(() -> prefiller.worker().numLeases() == 0);
                from.memory.fill((byte) 0); // another request has the blocks now
            };
            decoder.load("d", prefiller.hold("r", ALL, TOKENS), ALL, 0);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.nextFailure("d")).contains("released");
            assertThat(decoder.connector.stats().numChecksumErrors()).isPositive();
        });
    }

    @Test
    void prefillerIsStillFencedUntilTheCopyHasEnded() {
        betweenDevices((prefiller, decoder, from, to) -> {
            to.beforePull = () -> assertThat(prefiller.worker().numLeases()).isEqualTo(1);
            assertLoads(prefiller, decoder, from, to, "r");
        });
    }

    @ParameterizedTest
    @ValueSource(strings = {"another", "old boot", ""})
    void handleOfAnotherHostIsNeverOpened(String host) {
        Offer own = new Offer("host", "gpu", "h1", 4);
        assertThat(PeerPools.obstacle(own, new Offer(host, "gpu", "h2", 4))).isPresent();
        assertThat(PeerPools.obstacle(own, new Offer("host", "gpu", "h2", 4))).isEmpty();
        assertThat(PeerPools.obstacle(own, new Offer("host", "gpu", "", 4))).isPresent();
        assertThat(PeerPools.obstacle(Offer.NONE, new Offer("", "gpu", "h2", 4)))
                .isPresent();
    }

    @ParameterizedTest
    @ValueSource(ints = {8, 16, 1000, 1024, 4096})
    void deviceChecksumFindsFlipsSwapsAndWrongPlaces(int bytes) {
        Random random = new Random(bytes);
        byte[] content = new byte[bytes];
        random.nextBytes(content);
        long seed = new BlockSeeds("e", "r", 7).of(3, 16);
        long sum = DeviceChecksum.of(MemorySegment.ofArray(content), seed);
        assertThat(DeviceChecksum.of(MemorySegment.ofArray(content.clone()), seed))
                .isEqualTo(sum);
        for (int i = 0; i < 200; i++) {
            byte[] damaged = content.clone();
            damaged[random.nextInt(bytes)] ^= (byte) (1 << random.nextInt(8));
            assertThat(DeviceChecksum.of(MemorySegment.ofArray(damaged), seed)).isNotEqualTo(sum);
        }
        if (bytes > 8) {
            byte[] swapped = content.clone();
            System.arraycopy(content, 0, swapped, 8, 8);
            System.arraycopy(content, 8, swapped, 0, 8);
            assertThat(DeviceChecksum.of(MemorySegment.ofArray(swapped), seed)).isNotEqualTo(sum);
        }
        for (long other : new long[] {
            new BlockSeeds("e", "r", 8).of(3, 16),
            new BlockSeeds("e", "r", 7).of(4, 16),
            new BlockSeeds("e", "r", 7).of(3, 15),
            new BlockSeeds("e", "q", 7).of(3, 16),
            new BlockSeeds("er", "", 7).of(3, 16)
        }) {
            assertThat(DeviceChecksum.of(MemorySegment.ofArray(content), other)).isNotEqualTo(sum);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"NixlConnector", "MooncakeConnector", "OffloadingConnector", "LMCacheConnectorV1"})
    void connectorsThatReachHostMemoryAloneAreRefusedInOneSentence(String name) {
        KvConnectors.check(name, false);
        assertThatThrownBy(() -> KvConnectors.check(name, true))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(name)
                .hasMessageContaining("TcpConnector");
    }
}
