package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.ConnectorInstance;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// The connector as an engine drives it, over pools without a model and a real server.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class LmCacheConnectorTest {
    private static final int BLOCK_TOKENS = 4;
    private static final int CHUNK_TOKENS = 8;
    private static final int BLOCKS = 64;

    /// A pool, a connector over it and the events that it reported: an instance without an engine.
    private static final class Instance extends ConnectorInstance {
        final LmCacheConnector connector;

        Instance(KvRole role, Map<String, Object> settings) {
            super(new PagedKv(BLOCKS, 2, 2, BLOCK_TOKENS, 4, DType.F32));
            Map<String, Object> extra = new HashMap<>();
            extra.put("lmcache.chunk_size", CHUNK_TOKENS);
            extra.put("lmcache.max_local_cpu_size", 0.001);
            settings.forEach((key, value) -> extra.put("lmcache." + key, value));
            KvCacheSpec spec = new KvCacheSpec("m", "float32", 4, 2, 2, 4, BLOCK_TOKENS, BLOCKS);
            KvTransferConfig config = new KvTransferConfig(
                    LmCacheConnector.NAME, role, "e", "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, extra);
            connector = LmCacheConnector.start(config, spec, pool, events::add, Map.of());
        }

        Instance fill(int seed) {
            fillWithNoise(seed);
            return this;
        }

        @Override
        protected KvConnector connector() {
            return connector;
        }

        /// As the engine does with a prompt whose first tokens are in its prefix cache.
        KvEvent load(KvRequest request, int[] blocks, int numComputed) {
            int external = connector.scheduler().numNewMatchedTokens(request, numComputed);
            connector.scheduler().updateStateAfterAlloc(request, blocks, numComputed, external);
            connector.scheduler().takeLoads().forEach(KvLoad::start);
            return nextEvent();
        }

        /// As the engine does with a request that computed all of its prompt.
        void save(KvRequest request, int[] blocks) {
            connector.scheduler().computed(request, blocks, request.numTokens());
            finish(request, blocks, request.tokenIds(), request.numTokens());
        }

        KvHold finish(KvRequest request, int[] blocks, int[] tokens, int numComputed) {
            KvHold hold = connector
                    .scheduler()
                    .requestFinished(new KvFinished(request, tokens, tokens.length, blocks, numComputed, true));
            if (hold instanceof KvHold.UnderLease) {
                assertThat(nextEvent()).isEqualTo(new KvEvent.LeaseReleased(request.requestId()));
            }
            assertThat(connector.worker().numLeases()).isZero();
            return hold;
        }

        void awaitStored(int tokens) {
            Awaitility.await()
                    .atMost(Duration.ofSeconds(20))
                    .until(() -> connector.counters().storedTokens.sum() == tokens);
        }

        @Override
        public void close() {
            closeAbruptly();
        }
    }

    private static int[] tokens(int seed, int count) {
        return new Random(seed).ints(count, 0, 50_000).toArray();
    }

    private static KvRequest request(String id, int[] tokens) {
        return new KvRequest(id, id, tokens, KvTransferParams.NONE);
    }

    private static KvRequest request(String id, int[] tokens, Map<String, Object> params) {
        return new KvRequest(id, id, tokens, new KvTransferParams(params));
    }

    private static int[] blocks(int first, int tokens) {
        return IntStream.range(first, first + Math.ceilDiv(tokens, BLOCK_TOKENS))
                .toArray();
    }

    private static MemorySegment slot(PagedKv pool, int[] blocks, int token, int layer, int side, int head) {
        int block = blocks[token / BLOCK_TOKENS];
        long offset = side == 0 ? pool.keyOffsetBytes(block, layer, head) : pool.valueOffsetBytes(block, layer, head);
        return pool.segment().asSlice(offset + token % BLOCK_TOKENS * pool.headTokenBytes(), pool.headTokenBytes());
    }

    /// Tokens in a row, from the first on, that are equal in both pools.
    private static int equalTokens(PagedKv a, int[] blocksA, PagedKv b, int[] blocksB, int from, int count) {
        for (int token = from; token < count; token++) {
            for (int i = 0; i < 8; i++) {
                MemorySegment left = slot(a, blocksA, token, i & 1, i >> 1 & 1, i >> 2);
                MemorySegment right = slot(b, blocksB, token, i & 1, i >> 1 & 1, i >> 2);
                if (left.mismatch(right) != -1) {
                    return token - from;
                }
            }
        }
        return count - from;
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void whatOneSavedAnotherLoadsForEveryLengthAndNothingMore(boolean unfull) {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 4 << 20, 8)) {
            Map<String, Object> settings = Map.of(
                    "remote_url", "lm://127.0.0.1:" + server.port(), "local_cpu", false, "save_unfull_chunk", unfull);
            try (Instance writer = new Instance(KvRole.KV_PRODUCER, settings).fill(1);
                    Instance reader = new Instance(KvRole.KV_CONSUMER, settings)) {
                int stored = 0;
                for (int length = 1; length <= 3 * CHUNK_TOKENS + 1; length++) {
                    KvRequest request = request("r" + length, tokens(length, length));
                    int[] from = blocks(length % 7, length);
                    writer.save(request, from);
                    int whole = unfull ? length : length - length % CHUNK_TOKENS;
                    stored += whole;
                    writer.awaitStored(stored);
                    for (int computed = 0; computed < length; computed += BLOCK_TOKENS) {
                        reader.pool.segment().fill((byte) 77);
                        int[] to = blocks(20, length);
                        int expected = Math.max(0, whole - computed);
                        if (expected == 0) {
                            assertThat(reader.connector.scheduler().numNewMatchedTokens(request, computed))
                                    .isZero();
                            continue;
                        }
                        KvEvent event = reader.load(request, to, computed);
                        assertThat(event).isInstanceOf(KvEvent.KvArrived.class);
                        assertThat(((KvEvent.KvArrived) event).numTokens()).isEqualTo(expected);
                        assertThat(equalTokens(writer.pool, from, reader.pool, to, computed, whole))
                                .isEqualTo(expected);
                        MemorySegment before = reader.pool.segment().asSlice(0, reader.pool.blockOffsetBytes(20));
                        assertThat(holdsOnly77(before)).isTrue();
                        for (int token = 0; token < computed; token++) {
                            assertThat(holdsOnly77(slot(reader.pool, to, token, 1, 1, 1)))
                                    .isTrue();
                        }
                    }
                }
                assertThat(writer.connector.stats().bytesSent()).isEqualTo(stored * 2L * 2 * 2 * 4 * 4);
                assertThat(reader.connector.stats().numTransfers()).isPositive();
                assertThat(reader.connector.worker().numLoads()).isZero();
            }
        }
    }

    private static boolean holdsOnly77(MemorySegment segment) {
        return Arrays.equals(segment.toArray(ValueLayout.JAVA_BYTE), filled((int) segment.byteSize()));
    }

    private static byte[] filled(int length) {
        byte[] bytes = new byte[length];
        Arrays.fill(bytes, (byte) 77);
        return bytes;
    }

    @Test
    void loadStopsAtTheFirstChunkThatIsMissing() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of()).fill(1)) {
            int[] tokens = tokens(1, 40);
            instance.save(request("a", Arrays.copyOf(tokens, 24)), blocks(0, 24));
            instance.awaitStored(24);
            KvEvent event = instance.load(request("b", tokens), blocks(30, 40), 8);
            assertThat(event).isEqualTo(new KvEvent.KvArrived("b", 16, 2 * CHUNK_TOKENS * 2L * 2 * 2 * 4 * 4));
            int[] other = tokens(2, 40);
            assertThat(instance.load(request("c", other), blocks(30, 40), 0))
                    .isEqualTo(new KvEvent.KvArrived("c", 0, 0));
            assertThat(instance.connector.counters().hitTokens.sum()).isEqualTo(16);
            assertThat(instance.connector.counters().lookupTokens.sum()).isEqualTo(32 + 40);
        }
    }

    @Test
    void fewerTokensThanMinRetrieveTokensAreNotLoaded() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of("min_retrieve_tokens", 17)).fill(1)) {
            int[] tokens = tokens(1, 40);
            instance.save(request("a", Arrays.copyOf(tokens, 16)), blocks(0, 16));
            instance.awaitStored(16);
            assertThat(instance.connector.scheduler().numNewMatchedTokens(request("x", tokens(3, 23)), 0))
                    .isZero();
            assertThat(instance.load(request("b", tokens), blocks(30, 40), 0))
                    .isEqualTo(new KvEvent.KvArrived("b", 0, 0));
            instance.save(request("c", Arrays.copyOf(tokens, 24)), blocks(0, 24));
            instance.awaitStored(24);
            KvEvent event = instance.load(request("d", tokens), blocks(30, 40), 0);
            assertThat(((KvEvent.KvArrived) event).numTokens()).isEqualTo(24);
        }
    }

    @Test
    void promptIsSavedWhileItIsComputedAndTheOutputOnlyIfAskedFor() {
        for (boolean decodeToo : List.of(false, true)) {
            try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of("save_decode_cache", decodeToo)).fill(1)) {
                int[] all = tokens(1, 40);
                KvRequest request = request("a", Arrays.copyOf(all, 20));
                instance.connector.scheduler().computed(request, blocks(0, 7), 7);
                instance.connector.scheduler().computed(request, blocks(0, 9), 9);
                instance.awaitStored(8);
                instance.connector.scheduler().computed(request, blocks(0, 20), 20);
                instance.awaitStored(16);
                instance.finish(request, blocks(0, 39), all, 39);
                instance.awaitStored(decodeToo ? 32 : 16);
            }
        }
    }

    @Test
    void consumerAndRequestsThatSaySoAreNotSaved() {
        try (Instance consumer = new Instance(KvRole.KV_CONSUMER, Map.of());
                Instance both = new Instance(KvRole.KV_BOTH, Map.of())) {
            assertThat(consumer.connector.scheduler().saves()).isFalse();
            assertThat(consumer.finish(request("a", tokens(1, 16)), blocks(0, 16), tokens(1, 16), 16))
                    .isEqualTo(new KvHold.FreeNow());
            both.save(request("b", tokens(1, 16), Map.of("lmcache.skip_save", "True")), blocks(0, 16));
            both.save(request("c", tokens(2, 16)), blocks(0, 16));
            both.awaitStored(16);
            assertThat(both.load(request("d", tokens(1, 16)), blocks(0, 16), 0))
                    .isEqualTo(new KvEvent.KvArrived("d", 0, 0));
        }
    }

    @Test
    void chunksOfOtherTagsAreOthers() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of()).fill(1)) {
            Map<String, Object> ann = Map.of("lmcache.tag.user", "ann");
            instance.save(request("a", tokens(1, 8), ann), blocks(0, 8));
            instance.awaitStored(8);
            assertThat(instance.load(request("b", tokens(1, 8)), blocks(9, 8), 0))
                    .isEqualTo(new KvEvent.KvArrived("b", 0, 0));
            assertThat(((KvEvent.KvArrived) instance.load(request("c", tokens(1, 8), ann), blocks(9, 8), 0))
                            .numTokens())
                    .isEqualTo(8);
        }
    }

    @Test
    void firstTokenIsToldIfAskedFor() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of())) {
            int[] tokens = tokens(1, 6);
            int[] output = Arrays.copyOf(tokens, 7);
            output[6] = 4711;
            KvHold hold = instance.finish(request("a", tokens, Map.of("ret_first_tok", true)), blocks(0, 6), output, 6);
            assertThat(hold.answer().fields()).isEqualTo(Map.of("first_tok", 4711));
            assertThat(instance.finish(request("b", tokens), blocks(0, 6), output, 6)
                            .answer())
                    .isEqualTo(KvTransferParams.NONE);
            assertThat(instance.finish(request("c", tokens, Map.of("ret_first_tok", true)), blocks(0, 6), tokens, 6)
                            .answer())
                    .isEqualTo(KvTransferParams.NONE);
        }
    }

    /// A server that takes connections and says nothing.
    private static ServerSocket silent() throws IOException {
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread.ofPlatform().daemon().start(() -> {
            while (!listener.isClosed()) {
                try {
                    Socket socket = listener.accept();
                    Thread.ofPlatform().daemon().start(() -> {
                        try (socket) {
                            socket.getInputStream().transferTo(OutputStream.nullOutputStream());
                        } catch (IOException e) {
                            // gone
                        }
                    });
                } catch (IOException e) {
                    return;
                }
            }
        });
        return listener;
    }

    private static Map<String, Object> over(ServerSocket server, double timeoutSeconds) {
        return Map.of(
                "remote_url",
                "lm://127.0.0.1:" + server.getLocalPort(),
                "local_cpu",
                false,
                "blocking_timeout_secs",
                timeoutSeconds);
    }

    @Test
    void blocksOfAFinishedRequestAreHeldUntilTheyAreCopiedOrTheTimeIsUp() throws IOException {
        try (ServerSocket server = silent();
                Instance instance = new Instance(KvRole.KV_BOTH, over(server, 1))) {
            KvRequest request = request("a", tokens(1, 16));
            instance.connector.scheduler().computed(request, blocks(0, 16), 16);
            KvHold hold = instance.finished(request, blocks(0, 16), 16, true);
            assertThat(hold).isInstanceOf(KvHold.UnderLease.class);
            assertThat(instance.connector.worker().numLeases()).isEqualTo(1);
            long start = System.nanoTime();
            assertThat(instance.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("a"));
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(15));
            assertThat(instance.connector.worker().numLeases()).isZero();
            assertThat(instance.events).isEmpty();
        }
    }

    @Test
    void holdEndsAtOnceWhenItsClientIsGone() throws IOException {
        try (ServerSocket server = silent();
                Instance instance = new Instance(KvRole.KV_BOTH, over(server, 30))) {
            KvRequest request = request("a", tokens(1, 16));
            instance.connector.scheduler().computed(request, blocks(0, 16), 16);
            assertThat(instance.finished(request, blocks(0, 16), 16, true)).isInstanceOf(KvHold.UnderLease.class);
            instance.connector.worker().dropLease("a");
            instance.connector.worker().dropLease("a");
            instance.connector.worker().dropLease("nobody");
            assertThat(instance.nextEvent()).isEqualTo(new KvEvent.LeaseReleased("a"));
            assertThat(instance.events).isEmpty();
        }
    }

    @Test
    void abortedOrPreemptedRequestIsReadNoMore() throws IOException {
        try (ServerSocket server = silent();
                Instance instance = new Instance(KvRole.KV_BOTH, over(server, 30))) {
            KvRequest aborted = request("a", tokens(1, 16));
            instance.connector.scheduler().computed(aborted, blocks(0, 16), 16);
            assertThat(instance.finished(aborted, blocks(0, 16), 16, false)).isEqualTo(new KvHold.FreeNow());
            KvRequest preempted = request("b", tokens(2, 16));
            instance.connector.scheduler().computed(preempted, blocks(4, 16), 16);
            instance.connector.scheduler().preempted(preempted);
            instance.connector.scheduler().preempted(preempted);
            assertThat(instance.connector.worker().numLeases()).isZero();
        }
    }

    @Test
    void preemptedRequestIsSavedWhenItIsComputedAgain() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of()).fill(3);
                Instance check = new Instance(KvRole.KV_BOTH, Map.of())) {
            KvRequest request = request("a", tokens(1, 16));
            instance.connector.scheduler().computed(request, blocks(0, 8), 8);
            instance.connector.scheduler().preempted(request);
            instance.connector.scheduler().computed(request, blocks(10, 16), 16);
            instance.finish(request, blocks(10, 16), request.tokenIds(), 16);
            Awaitility.await().until(() -> {
                KvEvent event = instance.load(request("b", tokens(1, 16)), blocks(30, 16), 0);
                return ((KvEvent.KvArrived) event).numTokens() == 16;
            });
            assertThat(check.events).isEmpty();
            assertThat(equalTokens(instance.pool, blocks(10, 16), instance.pool, blocks(30, 16), 8, 16))
                    .isEqualTo(8);
        }
    }

    @Test
    void cancelledLoadEndsAtOnceAndWritesNothing() throws IOException {
        try (ServerSocket server = silent();
                Instance instance = new Instance(KvRole.KV_BOTH, over(server, 30))) {
            instance.pool.segment().fill((byte) 77);
            KvRequest request = request("a", tokens(1, 16));
            instance.connector.scheduler().updateStateAfterAlloc(request, blocks(0, 16), 0, 16);
            instance.connector.scheduler().takeLoads().forEach(KvLoad::start);
            assertThat(instance.connector.worker().numLoads()).isEqualTo(1);
            instance.connector.worker().cancelLoad("a");
            instance.connector.worker().cancelLoad("a");
            assertThat(instance.nextEvent()).isEqualTo(new KvEvent.KvFailed("a", "cancelled"));
            assertThat(instance.connector.worker().numLoads()).isZero();
            assertThat(instance.events).isEmpty();
            assertThat(holdsOnly77(instance.pool.segment())).isTrue();
        }
    }

    @ParameterizedTest
    @EnumSource(KvRole.class)
    void closeEndsLoadsAndHoldsWhateverTheyWaitFor(KvRole role) throws IOException {
        try (ServerSocket server = silent()) {
            Instance instance = new Instance(role, over(server, 60));
            KvRequest saved = request("saved", tokens(2, 16));
            KvHold hold = new KvHold.FreeNow();
            if (instance.connector.scheduler().saves()) {
                instance.connector.scheduler().computed(saved, blocks(8, 16), 16);
                hold = instance.finished(saved, blocks(8, 16), 16, true);
            }
            for (int i = 0; i < 5; i++) {
                KvRequest request = request("load" + i, tokens(i, 16));
                instance.connector.scheduler().updateStateAfterAlloc(request, blocks(0, 16), 0, 16);
            }
            instance.connector.scheduler().takeLoads().forEach(KvLoad::start);
            long start = System.nanoTime();
            instance.close();
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(10));
            assertThat(instance.events.stream().filter(KvEvent.KvFailed.class::isInstance))
                    .hasSize(5);
            assertThat(instance.events.stream().filter(KvEvent.LeaseReleased.class::isInstance))
                    .hasSize(hold instanceof KvHold.UnderLease ? 1 : 0);
        }
    }

    @Test
    void bannerNamesRoleChunksAndTiers() {
        try (Instance instance = new Instance(KvRole.KV_BOTH, Map.of("remote_url", "redis://ann:secret@127.0.0.1:1"))) {
            assertThat(instance.connector.describe())
                    .isEqualTo("LMCacheConnectorV1 kv_both, chunks of 8 tokens of \"m\","
                            + " in memory of 0.00 GiB, redis://127.0.0.1:1");
        }
    }

    @Test
    void connectorWithNowhereToKeepChunksIsRefused() {
        assertThatThrownBy(() -> new Instance(KvRole.KV_BOTH, Map.of("local_cpu", false)).close())
                .isInstanceOf(TransferException.class)
                .hasMessageContaining("nowhere to keep chunks");
    }
}
