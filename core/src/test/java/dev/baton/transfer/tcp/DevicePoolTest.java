package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.transfer.BlockSeeds;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.KvFailed;
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
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
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

    /// 2.5 MiB a layer of a block, so that parts of blocks are worth a copy.
    private static final KvCacheSpec LARGE = new KvCacheSpec("m", "float32", 4, 4, 8, 320, 128, BLOCKS);

    private static TestInstance instance(KvRole role, FakeDevice device, Map<String, Object> extra) {
        return instance(SPEC, role, device, extra);
    }

    private static TestInstance instance(KvCacheSpec spec, KvRole role, FakeDevice device, Map<String, Object> extra) {
        return new TestInstance(
                new KvTransferConfig(
                        TcpConnector.NAME,
                        role,
                        role.name(),
                        "127.0.0.1",
                        0,
                        KvLoadFailurePolicy.RECOMPUTE,
                        TestInstance.with(TestInstance.PATIENT, extra)),
                spec,
                device.pool());
    }

    private static FakeDevice device(String host, long seed) {
        return device(SPEC, host, seed);
    }

    private static FakeDevice device(KvCacheSpec spec, String host, long seed) {
        FakeDevice device = new FakeDevice(spec, host);
        Random random = new Random(seed);
        byte[] noise = new byte[4_096];
        random.nextBytes(noise);
        long bytes = device.memory.byteSize();
        for (long i = 0; i < bytes; i += noise.length) {
            long length = Math.min(noise.length, bytes - i);
            MemorySegment.copy(MemorySegment.ofArray(noise), 0, device.memory, i, length);
            device.memory.set(ValueLayout.JAVA_LONG, i, random.nextLong()); // differs everywhere
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

    @Test
    void blocksAreCopiedWhileThePrefillerComputesTheirChecksumsInOnePiece() {
        betweenDevices((prefiller, decoder, from, to) -> {
            CountDownLatch copied = new CountDownLatch(1);
            AtomicInteger pieces = new AtomicInteger();
            to.beforePull = copied::countDown;
            from.beforeSums = () -> {
                pieces.incrementAndGet();
                awaitLatch(copied);
            };
            assertLoads(prefiller, decoder, from, to, "r");
            assertThat(pieces).hasValue(1);
        });
    }

    @Test
    void aLeaseThatIsNotThereIsRefusedAlsoWhereTheBlocksHaveBeenCopied() {
        betweenDevices((prefiller, decoder, from, to) -> {
            RemotePrefill params = prefiller.hold("r", ALL, TOKENS);
            decoder.connector.worker().release(params.toParams());
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            decoder.load("d", params, REVERSED, 0);
            assertThat(decoder.nextEvent())
                    .isInstanceOfSatisfying(
                            KvFailed.class,
                            failed -> assertThat(failed.reason()).contains("was released"));
            assertThat(to.pulls).hasValue(1);
            assertLoads(prefiller, decoder, from, to, "next");
        });
    }

    @Test
    void blockThatThePrefillersPoolDoesNotHaveIsRefusedThere() {
        betweenDevices((prefiller, decoder, from, to) -> {
            RemotePrefill held = prefiller.hold("r", ALL, TOKENS);
            List<Integer> ids = new ArrayList<>(held.blockIds());
            ids.set(1, 1_000_000);
            RemotePrefill params = new RemotePrefill(
                    held.engineId(), held.requestId(), ids, held.host(), held.port(), held.tpSize(), held.numTokens());
            decoder.load("d", params, REVERSED, 0);
            assertThat(decoder.nextEvent())
                    .isInstanceOfSatisfying(
                            KvFailed.class,
                            failed -> assertThat(failed.reason()).contains("is not 1000000"));
            assertThat(to.pulls).hasValue(0);
            decoder.connector.worker().release(held.toParams());
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
        });
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

    /// A prompt of which the prefiller computes one layer after the other; its last block is not full.
    private final class Computed implements AutoCloseable {
        final FakeDevice from = device(LARGE, "h", 1);
        final FakeDevice to = device(LARGE, "h", 2);
        final TestInstance prefiller = instance(LARGE, KvRole.KV_PRODUCER, from, Map.of());
        final TestInstance decoder;
        final int tokens = BLOCKS * LARGE.blockTokens() - 3;
        final KvRequest given = new KvRequest("r", "r", new int[tokens], PushParams.prefill("x"));
        final KvRequest wanted = new KvRequest(
                "d", "d", new int[tokens], PushParams.decode("x", "KV_PRODUCER", PushParams.port(prefiller.connector)));

        Computed() {
            this("always");
        }

        Computed(String pushLayers) {
            decoder = instance(LARGE, KvRole.KV_CONSUMER, to, Map.of("kv_push_layers", pushLayers));
            assertThat(prefiller.scheduler().numNewMatchedTokens(given, 0)).isZero();
        }

        /// A step has begun that computes tokens up to this one.
        void computing(int before, int end) {
            prefiller.scheduler().computing(given, ALL, before, end);
        }

        void layer(int layer) {
            prefiller.scheduler().layerComputed(layer);
        }

        /// Waits until so many parts have been copied.
        void copied(int pulls) {
            await().until(() -> to.pulls.get() == pulls);
        }

        void ends(boolean completed) {
            KvHold hold = prefiller
                    .scheduler()
                    .requestFinished(new KvFinished(given, new int[tokens + 1], tokens + 1, ALL, tokens, completed));
            assertThat(hold instanceof KvHold.UnderLease).isEqualTo(completed);
        }

        void assertArrives() {
            assertThat(decoder.nextEvent()).isEqualTo(new KvFirstToken("d", 0));
            assertThat(decoder.nextEvent()).isEqualTo(new KvArrived("d", tokens, BLOCKS * LARGE.blockBytes()));
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            for (int i = 0; i < BLOCKS; i++) {
                assertThat(to.block(REVERSED[i]).mismatch(from.block(i))).isEqualTo(-1);
            }
        }

        @Override
        public void close() {
            try (prefiller;
                    decoder) {
                // both are to be closed
            }
        }
    }

    private static FakeDevice.Part part(int blocks, int firstLayer, int endLayer) {
        long layerBytes = LARGE.blockBytes() / LARGE.layers();
        return new FakeDevice.Part(blocks, firstLayer * layerBytes, (endLayer - firstLayer) * layerBytes);
    }

    @Test
    void layersAreCopiedWhileThoseBehindThemAreComputed() {
        try (Computed prompt = new Computed()) {
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            for (int layer = 0; layer < LARGE.layers(); layer++) {
                prompt.layer(layer);
                prompt.copied(layer + 1);
            }
            await().untilAsserted(() -> assertThat(prompt.decoder.connector.bytesBeforeFirstToken())
                    .isEqualTo((BLOCKS - 1) * LARGE.blockBytes())); // counted behind the copy
            prompt.ends(true);
            prompt.assertArrives();
            assertThat(prompt.to.parts)
                    .containsExactly(
                            part(BLOCKS - 1, 0, 1),
                            part(BLOCKS - 1, 1, 2),
                            part(BLOCKS - 1, 2, 3),
                            part(BLOCKS - 1, 3, 4),
                            part(1, 0, 4));
            assertThat(prompt.decoder.connector.stats().numChecksumErrors()).isZero();
            assertThat(prompt.prefiller.connector.stats().bytesSent()).isEqualTo(BLOCKS * LARGE.blockBytes());
        }
    }

    @ParameterizedTest
    @CsvSource({"auto, 0, false", "auto, 200, true", "never, 200, false", "always, 0, true"})
    void layersAreCopiedEarlyWhereCopiesAreKnownToTakeLong(String setting, long millis, boolean isEarly) {
        try (Computed prompt = new Computed(setting)) {
            if (millis > 0) {
                prompt.to.beforePull = () -> sleep(millis);
                prompt.decoder.load("d-1", prompt.prefiller.hold("r-1", ALL, prompt.tokens), ALL, 0);
                assertThat(prompt.decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(prompt.prefiller.nextEvent()).isEqualTo(new LeaseReleased("r-1"));
                prompt.to.beforePull = () -> {};
            }
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(LARGE.layers() - 1);
            if (isEarly) {
                await().until(() -> prompt.to.parts.size() == 1);
            } else {
                sleep(300);
                assertThat(prompt.to.parts).isEmpty();
            }
            prompt.ends(true);
            prompt.assertArrives();
            if (!isEarly) {
                assertThat(prompt.to.parts).containsExactly(part(BLOCKS, 0, LARGE.layers()));
            }
        }
    }

    @Test
    void whatCopiesTakeIsLearnedFromThoseThatAreLarge() {
        CopyRate rate = new CopyRate();
        rate.measured(CopyRate.LEAST_BYTES - 1, 1);
        assertThat(rate.nanos(1 << 30)).isEmpty();
        rate.measured(100_000_000, 1_000_000);
        assertThat(rate.nanos(989_000_000)).hasValue(9_890_000);
        assertThat(PushLayers.AUTO.copies(rate.nanos(989_000_000))).isFalse();
        assertThat(PushLayers.AUTO.copies(rate.nanos(1_010_000_000))).isTrue();
        for (int i = 0; i < 30; i++) {
            rate.measured(100_000_000, 2_000_000);
        }
        assertThat(rate.nanos(1_000_000).orElseThrow()).isBetween(19_900L, 20_000L);
        assertThat(PushLayers.AUTO.copies(OptionalLong.empty())).isFalse();
    }

    private static void sleep(long millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void onlyMissingBlocksAreCopiedAndOfChunksEachByItself() {
        try (Computed prompt = new Computed()) {
            prompt.decoder.load(prompt.wanted, REVERSED, LARGE.blockTokens());
            prompt.computing(0, 4 * LARGE.blockTokens() + 5);
            prompt.layer(LARGE.layers() - 1);
            prompt.copied(1);
            prompt.computing(4 * LARGE.blockTokens() + 5, prompt.tokens);
            prompt.layer(LARGE.layers() - 1);
            prompt.copied(2);
            prompt.ends(true);
            assertThat(prompt.decoder.nextEvent()).isEqualTo(new KvFirstToken("d", 0));
            assertThat(prompt.decoder.nextEvent())
                    .isEqualTo(
                            new KvArrived("d", prompt.tokens - LARGE.blockTokens(), (BLOCKS - 1) * LARGE.blockBytes()));
            assertThat(prompt.prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(prompt.to.parts).containsExactly(part(3, 0, 4), part(3, 0, 4), part(1, 0, 4));
            for (int i = 1; i < BLOCKS; i++) {
                assertThat(prompt.to.block(REVERSED[i]).mismatch(prompt.from.block(i)))
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void firstTokenDoesNotWaitForCopies() {
        try (Computed prompt = new Computed()) {
            CountDownLatch goOn = new CountDownLatch(1);
            prompt.to.beforePull = () -> awaitLatch(goOn);
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(1);
            await().until(() -> prompt.to.parts.size() == 1);
            prompt.ends(true);
            assertThat(prompt.decoder.nextEvent()).isEqualTo(new KvFirstToken("d", 0));
            assertThat(prompt.to.pulls).hasValue(0);
            goOn.countDown();
            assertThat(prompt.decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prompt.prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(prompt.to.block(REVERSED[0]).mismatch(prompt.from.block(0)))
                    .isEqualTo(-1);
        }
    }

    private static void awaitLatch(CountDownLatch latch) {
        try {
            assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void whatIsComputedAgainAfterAPreemptionIsCopiedAgain() {
        try (Computed prompt = new Computed()) {
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(1);
            prompt.copied(1);
            prompt.prefiller.scheduler().preempted(prompt.given);
            prompt.from.memory.fill((byte) 7); // others have the blocks, and then other bits are computed
            prompt.computing(0, prompt.tokens);
            prompt.layer(LARGE.layers() - 1);
            prompt.copied(2);
            prompt.ends(true);
            prompt.assertArrives();
            assertThat(prompt.to.parts).containsExactly(part(BLOCKS - 1, 0, 2), part(BLOCKS - 1, 0, 4), part(1, 0, 4));
            assertThat(prompt.decoder.connector.stats().numChecksumErrors()).isZero();
        }
    }

    @Test
    void preemptionShortlyBeforeTheEndVoidsWhatWasCopied() {
        try (Computed prompt = new Computed()) {
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(1);
            prompt.copied(1);
            prompt.prefiller.scheduler().preempted(prompt.given);
            prompt.from.memory.fill((byte) 7);
            prompt.ends(true);
            prompt.assertArrives();
            assertThat(prompt.decoder.connector.stats().numChecksumErrors()).isZero();
        }
    }

    @Test
    void layersThatChangeAfterTheyWereCopiedAreFoundByTheBlocksChecksums() {
        try (Computed prompt = new Computed()) {
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(1);
            prompt.copied(1);
            prompt.from.block(2).set(ValueLayout.JAVA_BYTE, 1_000, (byte) 7);
            prompt.from.block(5).set(ValueLayout.JAVA_BYTE, 1_000, (byte) 7);
            prompt.ends(true);
            prompt.assertArrives();
            assertThat(prompt.decoder.connector.stats().numChecksumErrors()).isEqualTo(2);
        }
    }

    @Test
    void byteFlippedInAnEarlyPartIsHealedByCopyingTheBlockAgain() {
        try (Computed prompt = new Computed()) {
            prompt.to.flips.set(1);
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(0);
            prompt.copied(1);
            prompt.ends(true);
            prompt.assertArrives();
            assertThat(prompt.decoder.connector.stats().numChecksumErrors()).isEqualTo(1);
        }
    }

    /// What ends a push while a part is copied.
    enum End {
        PREFILL_ABORTED,
        PREFILLER_CLOSED,
        DECODE_CANCELLED,
        LEASE_DROPPED
    }

    @ParameterizedTest
    @EnumSource(End.class)
    void pushThatEndsWhileAPartIsCopiedFailsOnceNothingWritesAnyMore(End end) {
        try (Computed prompt = new Computed()) {
            CountDownLatch goOn = new CountDownLatch(1);
            prompt.to.beforePull = () -> awaitLatch(goOn);
            prompt.decoder.load(prompt.wanted, REVERSED, 0);
            prompt.computing(0, prompt.tokens);
            prompt.layer(1);
            await().until(() -> prompt.to.parts.size() == 1);
            switch (end) {
                case PREFILL_ABORTED -> prompt.ends(false);
                case PREFILLER_CLOSED -> prompt.prefiller.connector.close();
                case DECODE_CANCELLED -> prompt.decoder.worker().cancelLoad("d");
                case LEASE_DROPPED -> {
                    prompt.ends(true);
                    assertThat(prompt.decoder.nextEvent()).isEqualTo(new KvFirstToken("d", 0));
                    prompt.prefiller.worker().dropLease("r");
                    assertThat(prompt.prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
                }
            }
            prompt.from.memory.fill((byte) 7); // others have the blocks
            sleep(100);
            assertThat(prompt.decoder.events).isEmpty();
            assertThat(prompt.decoder.worker().numLoads()).isEqualTo(1);
            goOn.countDown();
            assertThat(prompt.decoder.nextFailure("d")).isNotEmpty();
            int pulls = prompt.to.pulls.get();
            sleep(50);
            assertThat(prompt.to.pulls).hasValue(pulls);
        }
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
    void blocksThatChangeBeforeTheyAreCopiedDoNotCountAndAreNotThereOnceTheirLeaseHasEnded() {
        betweenDevices((prefiller, decoder, from, to) -> {
            CountDownLatch summed = new CountDownLatch(1);
            AtomicInteger asked = new AtomicInteger();
            from.afterSums = summed::countDown;
            from.beforeSums = () -> {
                if (asked.incrementAndGet() == 2) {
                    prefiller.worker().dropLease("r");
                }
            };
            to.beforePull = () -> {
                awaitLatch(summed);
                from.memory.fill((byte) 0); // another request has the blocks now
            };
            decoder.load("d", prefiller.hold("r", ALL, TOKENS), ALL, 0);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.nextFailure("d")).contains("released");
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(BLOCKS);
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
    @ValueSource(strings = {"MooncakeConnector", "MooncakeStoreConnector", "OffloadingConnector", "LMCacheConnectorV1"})
    void connectorsThatReachHostMemoryAloneAreRefusedInOneSentence(String name) {
        KvConnectors.check(name, false);
        assertThatThrownBy(() -> KvConnectors.check(name, true))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining(name)
                .hasMessageContaining("TcpConnector");
    }
}
