package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.metrics.Metrics;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpRequests;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Over the real NIXL library; skipped where it is not found.
@Timeout(120)
class NixlConnectorTest {
    private static final KvTransferParams NOT_FOR_HERE = new KvTransferParams(Map.of("do_remote_decode", true));

    private static int[] range(int from, int to) {
        return IntStream.range(from, to).toArray();
    }

    private static KvTransferParams with(KvTransferParams params, Map<String, Object> changed) {
        Map<String, Object> fields = new HashMap<>(params.fields());
        fields.putAll(changed);
        return new KvTransferParams(fields);
    }

    @Test
    void aLoadIsCountedUnderVllmsNames() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(1);
                NixlInstance decoder = NixlInstance.decoder(Map.of()).fill(2)) {
            int blocks = prefiller.spec.blocksFor(160);
            decoder.load("d", prefiller.hold("p", range(7, 7 + blocks), 160), 160, range(30, 30 + blocks), 48);
            long bytes = (blocks - 3) * prefiller.pool.blockBytes();
            assertThat(decoder.nextEvent()).isEqualTo(new KvEvent.KvArrived("d", 160 - 48, bytes));
            Metrics metrics = new Metrics(Map.of());
            decoder.connector.addTo(metrics);
            assertThat(new String(metrics.text(), StandardCharsets.UTF_8))
                    .contains("vllm:nixl_xfer_time_seconds_count 1\n")
                    .contains("vllm:nixl_post_time_seconds_bucket{le=\"5.0\"} 1\n")
                    .contains("vllm:nixl_bytes_transferred_sum %s\n".formatted((double) bytes))
                    .contains("vllm:nixl_num_descriptors_sum %s\n"
                            .formatted((double) decoder.connector.stats().numDescriptors()));
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @ParameterizedTest
    @CsvSource({"1,0", "31,0", "32,0", "33,0", "200,0", "200,48", "200,64", "96,80"})
    void blocksOfAVllmEngineAreConverted(int tokens, int computed) {
        try (NixlInstance decoder = NixlInstance.decoder(Map.of("vllm_model", "x", "vllm_cpu_isa", "vec"));
                FakeVllm vllm = new FakeVllm("v1", decoder.pool, hash("x"))) {
            Random random = new Random(tokens);
            for (long i = 0; i < vllm.memory.byteSize(); i += 4) {
                vllm.memory.set(ValueLayout.JAVA_INT, i, random.nextInt());
            }
            int[] theirs = IntStream.range(0, Math.ceilDiv(tokens, 32))
                    .map(i -> 15 - 2 * i)
                    .toArray();
            int[] here = range(20, 20 + decoder.spec.blocksFor(tokens));
            NixlSource source = vllm.source("v-req", tokens, theirs);
            decoder.load("d", without(source.toParams(), "baton_block_ids"), tokens, here, computed);
            assertThat(decoder.nextEvent())
                    .isInstanceOfSatisfying(
                            KvEvent.KvArrived.class,
                            it -> assertThat(it.numTokens()).isEqualTo(tokens - computed));
            for (int token = computed; token < tokens; token++) {
                for (int layer = 0; layer < NixlInstance.LAYERS; layer++) {
                    for (int head = 0; head < NixlInstance.KV_HEADS; head++) {
                        checkToken(vllm, decoder, theirs, here, token, layer, head);
                    }
                }
            }
            await().untilAsserted(() -> assertThat(vllm.notifications).contains("v-req:1"));
        }
    }

    private static void checkToken(
            FakeVllm vllm, NixlInstance decoder, int[] theirs, int[] here, int token, int layer, int head) {
        int dim = NixlInstance.HEAD_DIM;
        long part = (layer * FakeVllm.BLOCKS + theirs[token / 32]) * vllm.part.bytes() + head * 2L * 32 * dim * 4;
        int block = here[token / 16];
        for (int d = 0; d < dim; d++) {
            long at = 4L * (token % 16 * dim + d);
            assertThat(decoder.pool
                            .segment()
                            .get(ValueLayout.JAVA_INT, decoder.pool.keyOffsetBytes(block, layer, head) + at))
                    .isEqualTo(vllm.memory.get(ValueLayout.JAVA_INT, part + 4L * (d * 32 + token % 32)));
            assertThat(decoder.pool
                            .segment()
                            .get(ValueLayout.JAVA_INT, decoder.pool.valueOffsetBytes(block, layer, head) + at))
                    .isEqualTo(vllm.memory.get(ValueLayout.JAVA_INT, part + 4L * ((32 + token % 32) * dim + d)));
        }
    }

    private static KvTransferParams without(KvTransferParams params, String key) {
        Map<String, Object> fields = new HashMap<>(params.fields());
        fields.remove(key);
        return new KvTransferParams(fields);
    }

    private static String hash(String model) {
        return new Compatibility(
                        "0.32.0",
                        14,
                        model,
                        "torch.float32",
                        NixlInstance.KV_HEADS,
                        NixlInstance.HEAD_DIM,
                        NixlInstance.LAYERS,
                        "CPU_ATTN",
                        "auto",
                        true)
                .hash();
    }

    @Test
    void aVllmEngineOfAnotherHashIsRefusedInOneSentence() {
        try (NixlInstance decoder = NixlInstance.decoder(Map.of("vllm_model", "x", "vllm_cpu_isa", "vec"));
                FakeVllm vllm = new FakeVllm("v1", decoder.pool, hash("y"))) {
            decoder.load("d", vllm.source("v", 32, 0).toParams(), 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d"))
                    .contains(hash("x"), hash("y"), "model name", "\"vllm_version\": \"0.32.0\"");
        }
    }

    @Test
    void keysPackedForAmxAreRefused() {
        try (NixlInstance decoder = NixlInstance.decoder(Map.of("vllm_model", "x", "vllm_cpu_isa", "amx"));
                FakeVllm vllm = new FakeVllm("v1", decoder.pool, hash("x"))) {
            decoder.load("d", vllm.source("v", 32, 0).toParams(), 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("vllm_cpu_isa", "amx");
        }
    }

    @Test
    void aVllmEngineThatNamesBlocksThatItHasNotIsRefused() {
        try (NixlInstance decoder = NixlInstance.decoder(Map.of("vllm_model", "x", "vllm_cpu_isa", "vec"));
                FakeVllm vllm = new FakeVllm("v1", decoder.pool, hash("x"))) {
            decoder.load("d", vllm.source("v", 32, FakeVllm.BLOCKS).toParams(), 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("block 16", "only 16");
            decoder.load("e", vllm.source("v", 33, 0).toParams(), 33, range(0, 3), 0);
            assertThat(decoder.nextFailure("e")).contains("needed are 2");
        }
    }

    @Test
    void aVllmEngineReadsTheMirrorAsItsMetadataSay() throws Exception {
        try (NixlInstance prefiller =
                        NixlInstance.prefiller(Map.of("vllm_model", "x")).fill(4);
                NixlAgent reader = new NixlAgent(NixlLibrary.load(NixlInstance.home()), "reader");
                ZmtpRequests requests = new ZmtpRequests()) {
            NixlSource source = NixlSource.of(prefiller.hold("p", range(3, 8), 70));
            Fields payload =
                    MsgPack.map("payload", SideChannel.askMetadata(requests, source.peer(), Duration.ofSeconds(5)));
            assertThat(payload.text("compatibility_hash")).isEqualTo(hash("x"));
            AgentMetadata metadata = AgentMetadata.decode(payload.bytes("agent_metadata_bytes"));
            assertThat(metadata.layout()).isEqualTo("LBHNC");
            assertThat(metadata.attentionBackend()).isNotEqualTo("CPU_ATTN");
            assertThat(source.blockIds()).hasSize(3);

            VllmBlock part = VllmBlock.of(VllmBlock.Order.HEAD_MAJOR, 32, prefiller.pool);
            try (Arena arena = Arena.ofShared()) {
                MemorySegment copy = arena.allocate(3 * NixlInstance.LAYERS * part.bytes(), 64);
                reader.register(copy);
                Descriptors pieces = new Descriptors();
                for (int i = 0; i < 3; i++) {
                    for (int layer = 0; layer < NixlInstance.LAYERS; layer++) {
                        pieces.add(
                                copy.address() + (i * NixlInstance.LAYERS + layer) * part.bytes(),
                                metadata.bases()[layer] + source.blockIds().get(i) * metadata.strides()[layer],
                                metadata.lengths()[layer]);
                    }
                }
                NixlAgent.Transfer read =
                        reader.read(reader.load(metadata.agent()), NixlAgent.Place.HOST, NixlAgent.Place.HOST, pieces);
                await().until(() -> read.status() != NixlAgent.Status.IN_PROGRESS);
                assertThat(read.status()).isEqualTo(NixlAgent.Status.DONE);
                assertThat(read.end()).isTrue();
                for (int token = 0; token < 70; token++) {
                    int block = 3 + token / 16;
                    long row = part.bytes() * (token / 32 * NixlInstance.LAYERS + 2) + (32 + token % 32) * 2 * 16 * 4L;
                    long key = prefiller.pool.keyOffsetBytes(block, 2, 1) + token % 16 * 64L;
                    assertThat(copy.asSlice(row, 64)
                                    .mismatch(prefiller.pool.segment().asSlice(key, 64)))
                            .isEqualTo(-1);
                }
                reader.send(metadata.engineId(), (source.requestId() + ":2").getBytes());
                reader.send(metadata.engineId(), ("HB:" + source.requestId()).getBytes());
                assertThat(prefiller.connector.worker().numLeases()).isEqualTo(1);
                reader.send(metadata.engineId(), (source.requestId() + ":2").getBytes());
                assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
            }
        }
    }

    @Test
    void aBatonOfOtherFieldsIsRefusedByName() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of());
                NixlInstance decoder =
                        new NixlInstance(KvRole.KV_CONSUMER, "decoder-1", 64, Map.of(), Map.of("tokenizer", "t2"))) {
            decoder.load("d", prefiller.hold("p", range(0, 2), 32), 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("tokenizer differs", "\"t2\" here", "\"t1\" on prefiller-1");
            prefiller.connector.worker().dropLease("p");
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @Test
    void aPrefillerThatIsGoneAndOneThatCameBackAreNamed() {
        try (NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            KvTransferParams old;
            try (NixlInstance prefiller = NixlInstance.prefiller(Map.of())) {
                old = prefiller.hold("p", range(0, 2), 32);
                decoder.load("z", with(old, Map.of("remote_engine_id", "another")), 32, range(0, 2), 0);
                assertThat(decoder.nextFailure("z")).contains("another was expected", "restarted");
                prefiller.connector.worker().dropLease("p");
                prefiller.nextEvent();
            }
            decoder.load("d", old, 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("cannot be reached");
        }
    }

    @Test
    void aBlockThatChangesUnderTheReaderIsNotTaken() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(1);
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            KvTransferParams params = prefiller.hold("p", range(0, 2), 32);
            // Right blocks by the lease, wrong ones by their number: as if they had been given to others.
            decoder.load("d", with(params, Map.of("baton_block_ids", List.of(5, 6))), 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("wrong checksum, twice");
            assertThat(decoder.connector.stats().numChecksumErrors()).isEqualTo(2);
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @Test
    void aLeaseThatHasEndedIsNotRead() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(1);
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            KvTransferParams params = prefiller.hold("p", range(0, 2), 32);
            prefiller.connector.worker().dropLease("p");
            prefiller.nextEvent();
            decoder.load("d", params, 32, range(0, 2), 0);
            assertThat(decoder.nextFailure("d")).contains("lease", "has ended");
        }
    }

    @Test
    void aLeaseRunsOutUnlessItIsRenewed() throws InterruptedException {
        Map<String, Object> brief = Map.of("kv_lease_duration", 3);
        try (NixlInstance prefiller = NixlInstance.prefiller(brief);
                NixlInstance decoder = NixlInstance.decoder(brief)) {
            KvTransferParams kept = prefiller.hold("kept", range(0, 2), 32);
            prefiller.hold("lost", range(2, 4), 32);
            KvRequest waiting = NixlInstance.request("d", kept, 32);
            assertThat(decoder.connector.scheduler().numNewMatchedTokens(waiting, 0))
                    .isEqualTo(32);
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseExpired("lost"));
            Thread.sleep(5_000); // longer than a lease
            assertThat(prefiller.connector.worker().numLeases()).isEqualTo(1);
            assertThat(decoder.finished("d", kept, new int[0], 0, false)).isInstanceOf(KvHold.FreeNow.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("kept"));
            assertThat(prefiller.connector.stats().numKvExpiredReqs()).isEqualTo(1);
        }
    }

    @Test
    void aRequestThatIsRefusedReleasesItsLease() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of());
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            decoder.connector.worker().release(prefiller.hold("p", range(0, 2), 32));
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
        }
    }

    @Test
    void anAbortInEveryPhaseEndsTheLease() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of());
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            for (int phase = 0; phase < 4; phase++) {
                String id = "p" + phase;
                KvTransferParams params = prefiller.hold(id, range(0, 2), 32);
                KvRequest request = NixlInstance.request(id, params, 32);
                if (phase > 0) {
                    decoder.connector.scheduler().numNewMatchedTokens(request, 0);
                }
                if (phase > 1) {
                    decoder.connector.scheduler().updateStateAfterAlloc(request, range(0, 2), 0, 32);
                }
                if (phase > 2) {
                    decoder.connector.scheduler().takeLoads().forEach(KvLoad::start);
                    decoder.connector.worker().cancelLoad(id);
                    assertThat(decoder.nextEvent().requestId()).isEqualTo(id);
                }
                decoder.finished(id, params, range(0, 2), 0, false);
                assertThat(decoder.connector.scheduler().takeLoads()).isEmpty();
                assertThat(prefiller.nextEvent()).as("phase %d", phase).isEqualTo(new KvEvent.LeaseReleased(id));
            }
        }
    }

    @Test
    void nothingIsHeldForARequestThatWasAborted() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of())) {
            assertThat(prefiller.finished("p", NOT_FOR_HERE, range(0, 2), 32, false))
                    .isInstanceOf(KvHold.FreeNow.class);
        }
    }

    @Test
    void aMirrorThatIsFullHoldsNoMore() {
        Map<String, Object> tiny = Map.of("vllm_mirror_bytes", 2 * 32 * 2 * 16 * 2 * 4 * 3);
        try (NixlInstance prefiller = NixlInstance.prefiller(tiny)) {
            prefiller.hold("p", range(0, 3), 40);
            assertThat(prefiller.finished("q", NOT_FOR_HERE, range(3, 4), 1, true))
                    .isInstanceOf(KvHold.FreeNow.class);
            prefiller.connector.worker().dropLease("p");
            assertThat(prefiller.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("p"));
            prefiller.hold("q", range(3, 4), 1);
            prefiller.connector.worker().dropLease("q");
            prefiller.nextEvent();
        }
    }

    @Test
    void loadsOfAllBlocksAtATimeAreAllRight() {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of()).fill(9);
                NixlInstance decoder = NixlInstance.decoder(Map.of())) {
            for (int i = 0; i < 64; i++) {
                int[] here = {63 - i};
                decoder.load("d" + i, prefiller.hold("p" + i, new int[] {i}, 16), 16, here, 0);
            }
            for (int i = 0; i < 64; i++) {
                assertThat(decoder.nextEvent()).isInstanceOf(KvEvent.KvArrived.class);
                assertThat(prefiller.nextEvent()).isInstanceOf(KvEvent.LeaseReleased.class);
            }
            for (int block = 0; block < 64; block++) {
                assertThat(decoder.block(63 - block)).isEqualTo(prefiller.block(block));
            }
        }
    }

    @Test
    void theSideChannelSurvivesWhatIsNoQuestion() throws Exception {
        try (NixlInstance prefiller = NixlInstance.prefiller(Map.of());
                ZmtpRequests requests = new ZmtpRequests();
                Wire wire = Wire.unconnected()) {
            NixlSource source = NixlSource.of(prefiller.hold("p", range(0, 1), 16));
            wire.connect("127.0.0.1", source.peer().port(), Duration.ofSeconds(5));
            Zmtp socket = new Zmtp(wire, Zmtp.SocketType.DEALER, 1 << 20);
            socket.greet(Duration.ofSeconds(5));
            Random random = new Random(7);
            for (int i = 0; i < 2_000; i++) {
                byte[] noise = new byte[random.nextInt(40)];
                random.nextBytes(noise);
                socket.send(random.nextBoolean() ? List.of(new byte[0], noise) : List.of(noise));
            }
            assertThat(SideChannel.askMetadata(requests, source.peer(), Duration.ofSeconds(10)))
                    .isNotEmpty();
            assertThat(SideChannel.askSums(
                            requests, source.peer(), BlockSums.CRC32C, "no lease", 0, 1, Duration.ofSeconds(5)))
                    .isEmpty();
            assertThat(SideChannel.askSums(
                            requests,
                            source.peer(),
                            BlockSums.DEVICE,
                            source.requestId(),
                            0,
                            1 << 30,
                            Duration.ofSeconds(5)))
                    .isEmpty();
            prefiller.connector.worker().dropLease("p");
            prefiller.nextEvent();
        }
    }

    @Test
    void anUnknownKeyIsNamed() {
        NixlInstance.home(); // skipped without one
        assertThatThrownBy(() -> NixlInstance.prefiller(Map.of("kv_lease_durations", 1)))
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("kv_lease_durations");
    }

    @Test
    void aMissingLibraryIsNamed() {
        assertThatThrownBy(() -> NixlHome.find(Optional.of(Path.of("/nowhere")), Map.of()))
                .hasMessageContaining("libnixl_capi.so")
                .hasMessageContaining("/nowhere");
    }
}
