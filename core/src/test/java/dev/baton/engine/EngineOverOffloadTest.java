package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// Blocks that come back when the pool has forgotten them.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class EngineOverOffloadTest {
    private static final int BLOCK = 4;

    @TempDir
    Path directory;

    private final MemoryLm model = new MemoryLm(0);

    private static Engine start(KvTransferConfig transfer) {
        return Engine.start(
                EngineConfig.builder("memory", 100)
                        .blockTokens(BLOCK)
                        .numBlocks(30)
                        .maxNumSeqs(4)
                        .maxNumBatchedTokens(32)
                        .maxWaiting(100)
                        .stepDeadline(Duration.ofSeconds(10))
                        .kvTransfer(Optional.of(transfer))
                        .build(),
                new MemoryLm(0));
    }

    private Map<String, Object> files() {
        return files(directory);
    }

    private static Map<String, Object> files(Path root) {
        return Map.of("secondary_tiers", List.of(Map.of("type", "fs", "root_dir", root.toString())));
    }

    private static int[] prompt(int seed) {
        return EngineScenarioTest.prompt(new Random(seed), 50, 50);
    }

    private RequestOutput.Finish ask(Engine engine, String id, int seed) {
        Collected answer = new Collected();
        engine.submit(new EngineRequest(id, prompt(seed), SamplingParams.greedy(8), KvTransferParams.NONE), answer);
        RequestOutput.Finish finish = answer.await();
        assertThat(answer.tokens()).isEqualTo(model.reference(prompt(seed), 8, 100));
        return finish;
    }

    @Test
    void promptsComeBackFromMemoryAfterThePoolHasForgottenThem() {
        try (Engine engine = start(EngineScenarioTest.offload(Map.of("cpu_bytes_to_use", "1e6")))) {
            assertThat(ask(engine, "first", 1).externalTokens()).isZero();
            EngineScenarioTest.quiet(engine); // saved by now
            assertThat(engine.resetPrefixCache().join()).isTrue();
            RequestOutput.Finish again = ask(engine, "again", 1);
            assertThat(again.cachedTokens()).isZero();
            assertThat(again.externalTokens()).isEqualTo(48);
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void promptsComeBackFromFilesAfterARestart() {
        try (Engine engine = start(EngineScenarioTest.offload(files()))) {
            ask(engine, "first", 1);
            EngineScenarioTest.quiet(engine);
        }
        try (Engine engine = start(EngineScenarioTest.offload(files()))) {
            assertThat(ask(engine, "again", 1).externalTokens()).isEqualTo(48);
            assertThat(ask(engine, "other", 2).externalTokens()).isZero();
        }
    }

    @Test
    void aDamagedFileEndsThePrefixThere() throws IOException {
        try (Engine engine = start(EngineScenarioTest.offload(files()))) {
            ask(engine, "first", 1);
            EngineScenarioTest.quiet(engine);
        }
        try (Stream<Path> all = Files.walk(directory)) {
            List<Path> blocks = all.filter(Files::isRegularFile).toList();
            assertThat(blocks).hasSize(12);
            for (Path block : blocks) {
                byte[] bytes = Files.readAllBytes(block);
                bytes[bytes.length - 1] ^= 1;
                Files.write(block, bytes);
            }
        }
        try (Engine engine = start(EngineScenarioTest.offload(files()))) {
            assertThat(ask(engine, "again", 1).externalTokens()).isZero();
        }
    }

    /// A prefiller that also keeps its blocks, and a decoder that takes them over.
    @Test
    void severalConnectorsWorkTogether(@TempDir Path other) {
        Map<String, Object> both = Map.of(
                "connectors",
                List.of(
                        Map.of("kv_connector", "TcpConnector"),
                        Map.of("kv_connector", "OffloadingConnector", "kv_connector_extra_config", files())));
        // What the prefiller holds comes before what a store may have, in either order.
        Map<String, Object> storeFirst = Map.of(
                "connectors",
                List.of(
                        Map.of("kv_connector", "OffloadingConnector", "kv_connector_extra_config", files(other)),
                        Map.of("kv_connector", "TcpConnector")));
        try (Engine prefiller = start(multi("P", both));
                Engine decoder = start(multi("D", storeFirst))) {
            Collected first = new Collected();
            prefiller.submit(
                    new EngineRequest("a", prompt(3), SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE), first);
            KvTransferParams params = first.await().kvTransferParams();
            Collected answer = new Collected();
            decoder.submit(new EngineRequest("a", prompt(3), SamplingParams.greedy(8), params), answer);
            assertThat(answer.await().externalTokens()).isEqualTo(50);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(3), 8, 100));
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
            assertThat(prefiller.resetPrefixCache().join()).isTrue();
            assertThat(ask(prefiller, "again", 3).externalTokens()).isEqualTo(48);
        }
    }

    private static KvTransferConfig multi(String engineId, Map<String, Object> extra) {
        return new KvTransferConfig(
                "MultiConnector", KvRole.KV_BOTH, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, extra);
    }
}
