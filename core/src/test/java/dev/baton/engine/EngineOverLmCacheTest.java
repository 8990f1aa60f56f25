package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.metrics.Metrics;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.lmcache.LmCacheServer;
import dev.baton.transfer.mooncakestore.MooncakeCluster;
import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Engines that share chunks through a real server, or find their own again on disk.
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class EngineOverLmCacheTest {
    private static Engine start(
            String engineId, KvRole role, int blockTokens, MemoryLm model, Map<String, Object> extra) {
        KvTransferConfig transfer = new KvTransferConfig(
                "LMCacheConnectorV1", role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, extra);
        return EngineOverTcpTest.start(transfer, blockTokens, model);
    }

    private static Map<String, Object> remote(int port, int chunkTokens) {
        return Map.of(
                "lmcache.remote_url",
                "lm://127.0.0.1:" + port,
                "lmcache.local_cpu",
                false,
                "lmcache.chunk_size",
                chunkTokens,
                "lmcache.pre_caching_hash_algorithm",
                "sha256_cbor");
    }

    private static RequestOutput.Finish ask(Engine engine, String id, int[] prompt, int maxTokens, Collected answer) {
        engine.submit(new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), KvTransferParams.NONE), answer);
        RequestOutput.Finish finish = answer.await();
        assertThat(finish.error()).isEmpty();
        return finish;
    }

    @ParameterizedTest
    @CsvSource({"8, 8", "8, 32", "16, 16", "32, 32"})
    void chunksOfOneEngineAreHitsOfTheOtherAndGiveTheTokensOfARecomputation(int blockTokens, int chunkTokens) {
        MemoryLm firstModel = new MemoryLm(0);
        MemoryLm secondModel = new MemoryLm(0);
        Random random = new Random(blockTokens + chunkTokens);
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 64 << 20, 8);
                Engine first =
                        start("A", KvRole.KV_PRODUCER, blockTokens, firstModel, remote(server.port(), chunkTokens));
                Engine second =
                        start("B", KvRole.KV_CONSUMER, blockTokens, secondModel, remote(server.port(), chunkTokens))) {
            int external = 0;
            int expected = 0;
            for (int length = chunkTokens - 1; length <= 3 * chunkTokens + 1; length++) {
                int[] prompt = EngineScenarioTest.prompt(random, length, length);
                ask(first, "a" + length, prompt, 1, new Collected());
                EngineScenarioTest.quiet(first); // saved: blocks are held until they were copied
                int chunks = length / chunkTokens * chunkTokens;
                expected += chunks;
                int known = expected;
                awaitChunks(server, known / chunkTokens);
                Collected answer = new Collected();
                long rows = secondModel.rows;
                RequestOutput.Finish finish = ask(second, "b" + length, prompt, 12, answer);
                assertThat(answer.tokens()).isEqualTo(secondModel.reference(prompt, 12, 200));
                assertThat(finish.externalTokens()).isEqualTo(chunks);
                assertThat(secondModel.rows - rows).isEqualTo(11 + Math.max(1, length - chunks));
                external += finish.externalTokens();
            }
            assertThat(external).isEqualTo(expected).isPositive();
            EngineScenarioTest.quiet(first);
            EngineScenarioTest.quiet(second);
            assertThat(second.transferStats().bytesSent()).isZero();
            assertThat(metrics(second))
                    .contains("lmcache:num_hit_tokens_total{engine=\"0\"} %s\n".formatted((double) expected))
                    .contains("lmcache:num_requested_tokens_total{engine=\"0\"} %s\n".formatted((double) expected))
                    .contains("lmcache:num_stored_tokens_total{engine=\"0\"} 0.0\n")
                    .contains("lmcache:time_to_store_count{engine=\"0\"} 0\n");
            long stored = expected;
            org.awaitility.Awaitility.await()
                    .untilAsserted(
                            () -> { // counted behind the last one's arrival
                                assertThat(metrics(first))
                                        .contains("lmcache:num_stored_tokens_total{engine=\"0\"} %s\n"
                                                .formatted((double) stored))
                                        .contains("lmcache:time_to_store_count{engine=\"0\"} %d\n"
                                                .formatted(stored / chunkTokens));
                                assertThat(first.transferStats().bytesSent()).isEqualTo(stored * 2 * 2 * 2 * 4);
                            });
        }
    }

    private static String metrics(Engine engine) {
        Metrics metrics = new Metrics(Map.of("engine", "0"));
        engine.addTransferMetrics(metrics);
        return new String(metrics.text(), StandardCharsets.UTF_8);
    }

    private static void awaitChunks(LmCacheServer server, int chunks) {
        org.awaitility.Awaitility.await()
                .atMost(Duration.ofSeconds(20))
                .pollInterval(Duration.ofMillis(2)) // a hundred times
                .until(() -> server.numChunks() == chunks);
    }

    /// A stop text is a normal end, which the engine hears of from outside.
    @Test
    void outputOfARequestThatWasStoppedIsSavedAndThatOfAnAbortedOneIsNot() {
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 64 << 20, 8)) {
            Map<String, Object> extra = new java.util.HashMap<>(remote(server.port(), 16));
            extra.put("lmcache.save_decode_cache", true);
            try (Engine engine = start("A", KvRole.KV_BOTH, 16, new MemoryLm(0), extra)) {
                for (boolean stop : new boolean[] {false, true}) {
                    int[] prompt = EngineScenarioTest.prompt(new Random(stop ? 1 : 2), 0, 10);
                    Collected answer = new Collected();
                    engine.submit(
                            new EngineRequest("a" + stop, prompt, SamplingParams.greedy(150), KvTransferParams.NONE),
                            output -> {
                                answer.onOutput(output);
                                if (answer.numTokens() == 40 && stop) {
                                    engine.stop("a" + stop);
                                } else if (answer.numTokens() == 40) {
                                    engine.abort("a" + stop);
                                }
                            });
                    RequestOutput.Finish finish = answer.await();
                    assertThat(finish.reason()).isEqualTo(stop ? FinishReason.STOP : FinishReason.ABORT);
                    assertThat(answer.late()).isEmpty();
                    EngineScenarioTest.quiet(engine);
                    int chunks = stop ? (10 + answer.numTokens() - 1) / 16 : 0;
                    awaitChunks(server, chunks);
                    assertThat(chunks).isEqualTo(stop ? 3 : 0);
                }
            }
        }
    }

    @Test
    void outputThatWasSavedIsAHitOfTheNextTurn() {
        MemoryLm model = new MemoryLm(0);
        try (LmCacheServer server = LmCacheServer.start("127.0.0.1", 0, 64 << 20, 8)) {
            Map<String, Object> extra = new java.util.HashMap<>(remote(server.port(), 16));
            extra.put("lmcache.save_decode_cache", true);
            try (Engine first = start("A", KvRole.KV_BOTH, 16, model, extra);
                    Engine second = start("B", KvRole.KV_BOTH, 16, model, extra)) {
                int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 40);
                Collected answer = new Collected();
                ask(first, "a", prompt, 30, answer);
                awaitChunks(server, 4); // 40 + 30 - 1 tokens have keys and values
                int[] next = java.util.Arrays.copyOf(prompt, 80);
                System.arraycopy(answer.tokens(), 0, next, 40, 30);
                Collected turn = new Collected();
                assertThat(ask(second, "b", next, 5, turn).externalTokens()).isEqualTo(64);
                assertThat(turn.tokens()).isEqualTo(model.reference(next, 5, 200));
            }
        }
    }

    /// A server that keeps heads and gives zeros for bytes: what a load brings is really used.
    private static ServerSocket zeros() throws IOException {
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Map<String, byte[]> heads = new ConcurrentHashMap<>();
        Thread.ofPlatform().daemon().start(() -> {
            while (!listener.isClosed()) {
                try {
                    Socket socket = listener.accept();
                    Thread.ofPlatform().daemon().start(() -> serveZeros(socket, heads));
                } catch (IOException e) {
                    return;
                }
            }
        });
        return listener;
    }

    private static void serveZeros(Socket socket, Map<String, byte[]> heads) {
        try (socket) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            while (true) {
                byte[] request = new byte[186];
                in.readFully(request);
                ByteBuffer numbers = ByteBuffer.wrap(request).order(ByteOrder.LITTLE_ENDIAN);
                String key = new String(request, 36, 150, java.nio.charset.StandardCharsets.US_ASCII).strip();
                if (numbers.getInt(0) == 1) {
                    in.readNBytes(numbers.getInt(4));
                    heads.put(key, request);
                    continue;
                }
                byte[] head = heads.get(key);
                ByteBuffer reply = ByteBuffer.allocate(36).order(ByteOrder.LITTLE_ENDIAN);
                reply.putInt(head == null ? 400 : 200);
                int bytes = 0;
                if (head != null && numbers.getInt(0) == 2) {
                    bytes = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getInt(4);
                    reply.put(head, 4, 12).put(head, 20, 16);
                }
                socket.getOutputStream().write(reply.array());
                socket.getOutputStream().write(new byte[bytes]);
            }
        } catch (IOException e) {
            // the client is gone
        }
    }

    @Test
    void serverThatGivesZerosGivesOtherTokens() throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (ServerSocket server = zeros();
                Engine first = start("A", KvRole.KV_BOTH, 16, model, remote(server.getLocalPort(), 16));
                Engine second = start("B", KvRole.KV_BOTH, 16, model, remote(server.getLocalPort(), 16))) {
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            Collected right = new Collected();
            ask(first, "a", prompt, 12, right);
            assertThat(right.tokens()).isEqualTo(model.reference(prompt, 12, 200));
            EngineScenarioTest.quiet(first);
            org.awaitility.Awaitility.await()
                    .atMost(Duration.ofSeconds(20))
                    .until(() -> first.transferStats().bytesSent() >= 48 * 32);
            Collected wrong = new Collected();
            assertThat(ask(second, "b", prompt, 12, wrong).externalTokens()).isEqualTo(48);
            assertThat(wrong.tokens()).isNotEqualTo(right.tokens());
        }
    }

    /// Who only reads does so in plain Java in one case, through Mooncake's own client in the other.
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void chunksInAMooncakeClusterAreHitsAndLostOrDamagedOnesAreRecomputed(boolean hasHeads) throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Map<String, Object> settings = cluster.lmCacheSettings(16, hasHeads);
            Map<String, Object> reading = new java.util.HashMap<>(settings);
            if (hasHeads) {
                reading.put("mooncake_home", "/nonexistent");
            }
            try (Engine first = start("A", KvRole.KV_PRODUCER, 8, new MemoryLm(0), settings);
                    Engine second = start("B", KvRole.KV_CONSUMER, 8, model, reading)) {
                int saved = 0;
                for (int length : new int[] {15, 16, 33, 60}) {
                    int[] prompt = EngineScenarioTest.prompt(new Random(length), 0, length);
                    ask(first, "a" + length, prompt, 1, new Collected());
                    saved += length / 16 * 16;
                    awaitSaved(first, saved);
                    Collected answer = new Collected();
                    assertThat(ask(second, "b" + length, prompt, 12, answer).externalTokens())
                            .isEqualTo(length / 16 * 16);
                    assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
                }
                assertThat(cluster.keys()).hasSize(6);

                int head = hasHeads ? 28 : 0;
                for (String key : cluster.keys()) { // as if another engine had stored zeros
                    byte[] value = cluster.get(key);
                    assertThat(value).hasSize(head + 16 * 32);
                    cluster.put(key, java.util.Arrays.copyOf(java.util.Arrays.copyOf(value, head), value.length));
                }
                int[] prompt = EngineScenarioTest.prompt(new Random(60), 0, 60);
                assertThat(second.resetPrefixCache().join()).isTrue();
                Collected wrong = new Collected();
                assertThat(ask(second, "c", prompt, 12, wrong).externalTokens()).isEqualTo(48);
                assertThat(wrong.tokens()).isNotEqualTo(model.reference(prompt, 12, 200));

                for (String key : cluster.keys()) { // one byte too few
                    byte[] value = cluster.get(key);
                    cluster.put(key, java.util.Arrays.copyOf(value, value.length - 1));
                }
                assertThat(second.resetPrefixCache().join()).isTrue();
                assertRecomputed(second, "d", prompt, model);
                assertThat(second.transferStats().numChecksumErrors()).isPositive();

                cluster.killMaster();
                assertRecomputed(second, "e", EngineScenarioTest.prompt(new Random(61), 0, 60), model);
                assertThat(metrics(second)).contains("lmcache:num_stored_tokens_total{engine=\"0\"} 0.0\n");
            }
        }
    }

    private static void assertRecomputed(Engine engine, String id, int[] prompt, MemoryLm model) {
        Collected answer = new Collected();
        assertThat(ask(engine, id, prompt, 12, answer).externalTokens()).isZero();
        assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
    }

    private static void awaitSaved(Engine engine, int tokens) {
        org.awaitility.Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .until(() -> engine.transferStats().bytesSent() == tokens * 32L);
    }

    @Test
    void chunksOnDiskOutliveTheEngineAndDamagedOnesAreRecomputed(@TempDir Path folder) throws IOException {
        MemoryLm model = new MemoryLm(0);
        Map<String, Object> extra = Map.of(
                "lmcache.local_cpu",
                false,
                "lmcache.local_disk",
                "file://" + folder + "/",
                "lmcache.max_local_disk_size",
                0.1,
                "lmcache.chunk_size",
                16);
        int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
        try (Engine engine = start("A", KvRole.KV_BOTH, 16, model, extra)) {
            ask(engine, "a", prompt, 1, new Collected());
            org.awaitility.Awaitility.await()
                    .atMost(Duration.ofSeconds(20))
                    .until(() -> engine.transferStats().bytesSent() >= 48 * 32);
        }
        try (Engine engine = start("A", KvRole.KV_BOTH, 16, model, extra)) {
            Collected answer = new Collected();
            assertThat(ask(engine, "b", prompt, 12, answer).externalTokens()).isEqualTo(48);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
        }
        List<Path> files;
        try (Stream<Path> all = Files.list(folder)) {
            files = all.filter(file -> file.toString().endsWith(".kv")).toList();
        }
        assertThat(files).hasSize(3);
        for (Path file : files) { // zeros in place of keys and values
            byte[] bytes = Files.readAllBytes(file);
            java.util.Arrays.fill(bytes, bytes.length - 512, bytes.length, (byte) 0);
            Files.write(file, bytes);
        }
        try (Engine engine = start("A", KvRole.KV_BOTH, 16, model, extra)) {
            Collected answer = new Collected();
            assertThat(ask(engine, "c", prompt, 12, answer).externalTokens()).isZero();
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
            assertThat(engine.transferStats().numChecksumErrors()).isPositive();
        }
    }
}
