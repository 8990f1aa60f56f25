package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.mooncakestore.MooncakeCluster;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Engines that share blocks through a real Mooncake cluster.
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class EngineOverMooncakeStoreTest {
    private static Engine start(
            String engineId, KvRole role, int blockTokens, MemoryLm model, Map<String, Object> extra) {
        KvTransferConfig transfer = new KvTransferConfig(
                "MooncakeStoreConnector", role, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, extra);
        return EngineOverTcpTest.start(transfer, blockTokens, model);
    }

    private static RequestOutput.Finish ask(Engine engine, String id, int[] prompt, int maxTokens, Collected answer) {
        engine.submit(new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), KvTransferParams.NONE), answer);
        RequestOutput.Finish finish = answer.await();
        assertThat(finish.error()).isEmpty();
        return finish;
    }

    private static Map<String, Object> with(Map<String, Object> settings, String key, Object value) {
        Map<String, Object> more = new HashMap<>(settings);
        more.put(key, value);
        return more;
    }

    @ParameterizedTest
    @CsvSource({"8,", "16, interleaved", "32, cpu"})
    void blocksOfOneEngineAreHitsOfTheOtherAndGiveTheTokensOfARecomputation(int blockTokens, String layout)
            throws IOException {
        MemoryLm model = new MemoryLm(0);
        Random random = new Random(blockTokens);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Map<String, Object> settings =
                    layout == null ? cluster.settings() : with(cluster.settings(), "vllm_kv_layout", layout);
            try (Engine first = start("A", KvRole.KV_PRODUCER, blockTokens, new MemoryLm(0), settings);
                    Engine second = start("B", KvRole.KV_CONSUMER, blockTokens, model, settings)) {
                for (int length = blockTokens - 1; length <= 3 * blockTokens + 1; length += 3) {
                    int[] prompt = EngineScenarioTest.prompt(random, length, length);
                    ask(first, "a" + length, prompt, 1, new Collected());
                    EngineScenarioTest.quiet(first); // saved: blocks are held until they were
                    long saved = first.transferStats().bytesSent();
                    Collected answer = new Collected();
                    long rows = model.rows;
                    RequestOutput.Finish finish = ask(second, "b" + length, prompt, 12, answer);
                    int blocks = length / blockTokens * blockTokens;
                    assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
                    assertThat(finish.externalTokens())
                            .as("of %d tokens, %d bytes saved", length, saved)
                            .isEqualTo(blocks);
                    assertThat(model.rows - rows).isEqualTo(11 + Math.max(1, length - blocks));
                }
                EngineScenarioTest.quiet(second);
                assertThat(second.transferStats().bytesSent()).isZero();
                assertThat(second.transferStats().numChecksumErrors()).isZero();
                assertThat(second.transferStats().numFailedTransfers()).isZero();
            }
        }
    }

    @Test
    void consumerReadsInPlainJavaWhereMooncakeIsNotInstalled(@org.junit.jupiter.api.io.TempDir Path nothing)
            throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20);
                Engine first = start("A", KvRole.KV_PRODUCER, 16, new MemoryLm(0), cluster.settings());
                Engine second = start(
                        "B",
                        KvRole.KV_CONSUMER,
                        16,
                        model,
                        with(cluster.settings(), "mooncake_home", nothing.toString()))) {
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            ask(first, "a", prompt, 1, new Collected());
            EngineScenarioTest.quiet(first);
            Collected answer = new Collected();
            assertThat(ask(second, "b", prompt, 12, answer).externalTokens()).isEqualTo(48);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
        }
    }

    @Test
    void outputThatWasSavedIsAHitOfTheNextTurn() throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Map<String, Object> settings = with(cluster.settings(), "save_decode_cache", true);
            try (Engine first = start("A", KvRole.KV_BOTH, 16, model, settings);
                    Engine second = start("B", KvRole.KV_BOTH, 16, model, settings)) {
                int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 40);
                Collected answer = new Collected();
                ask(first, "a", prompt, 30, answer);
                EngineScenarioTest.quiet(first);
                int[] next = Arrays.copyOf(prompt, 80);
                System.arraycopy(answer.tokens(), 0, next, 40, 30);
                Collected turn = new Collected();
                assertThat(ask(second, "b", next, 5, turn).externalTokens()).isEqualTo(64);
                assertThat(turn.tokens()).isEqualTo(model.reference(next, 5, 200));
            }
        }
    }

    /// The keys are vLLM's, so what lies there is what another engine would have stored.
    @Test
    void damagedValueIsRecomputedAndZerosOfAnotherEngineAreReallyUsed() throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Map<String, Object> settings = with(cluster.settings(), "vllm_kv_layout", "interleaved");
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            String key = MooncakeCluster.vllmKey("memory", prompt, 16, 1);
            try (Engine engine = start("A", KvRole.KV_BOTH, 16, model, settings)) {
                ask(engine, "a", prompt, 1, new Collected());
                EngineScenarioTest.quiet(engine);
            }
            byte[] value = cluster.get(key);
            assertThat(value).hasSize(16 * 2 * 2 * 2 * 4);
            cluster.put(key, new byte[value.length]);
            try (Engine engine = start("B", KvRole.KV_BOTH, 16, model, settings)) {
                Collected answer = new Collected();
                assertThat(ask(engine, "b", prompt, 12, answer).externalTokens())
                        .isEqualTo(16);
                assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
                assertThat(engine.transferStats().numChecksumErrors()).isEqualTo(1);
            }
            cluster.remove(key + "@baton"); // now it is as if vLLM had stored zeros
            try (Engine engine = start("C", KvRole.KV_BOTH, 16, model, settings)) {
                Collected answer = new Collected();
                assertThat(ask(engine, "c", prompt, 12, answer).externalTokens())
                        .isEqualTo(48);
                assertThat(answer.tokens()).isNotEqualTo(model.reference(prompt, 12, 200));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void masterThatDiesCostsNoRequestAndIsUsedAgainWhenItIsBack(boolean plain) throws IOException {
        MemoryLm model = new MemoryLm(0);
        try (MooncakeCluster cluster = new MooncakeCluster(64 << 20)) {
            Map<String, Object> settings = with(with(cluster.settings(), "kv_peer_timeout", 2), "load_timeout", 3);
            Map<String, Object> reading = plain ? with(settings, "mooncake_home", "/nonexistent") : settings;
            try (Engine first = start("A", KvRole.KV_PRODUCER, 16, new MemoryLm(0), settings);
                    Engine second = start("B", KvRole.KV_CONSUMER, 16, model, reading)) {
                int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
                ask(first, "a", prompt, 1, new Collected());
                EngineScenarioTest.quiet(first);
                assertThat(ask(second, "b", prompt, 3, new Collected()).externalTokens())
                        .isEqualTo(48);
                cluster.killMaster();
                long start = System.nanoTime();
                for (int i = 0; i < 10; i++) {
                    int[] other = EngineScenarioTest.prompt(new Random(2 + i), 0, 60);
                    ask(first, "c" + i, other, 1, new Collected());
                    Collected answer = new Collected();
                    assertThat(ask(second, "d" + i, other, 5, answer).externalTokens())
                            .isZero();
                    assertThat(answer.tokens()).isEqualTo(model.reference(other, 5, 200));
                }
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(20));
                EngineScenarioTest.quiet(first);
                cluster.restartMaster();
                int[] later = EngineScenarioTest.prompt(new Random(99), 0, 60);
                int[] tries = {0};
                await().atMost(Duration.ofSeconds(60))
                        .pollInterval(Duration.ofMillis(500))
                        .until(() -> {
                            if (!first.resetPrefixCache().join()
                                    || !second.resetPrefixCache().join()) {
                                return false; // a save that still waits for the cluster holds its blocks
                            }
                            ask(first, "e" + tries[0], later, 1, new Collected());
                            return ask(second, "f" + tries[0]++, later, 5, new Collected())
                                            .externalTokens()
                                    == 48;
                        });
            }
        }
    }

    @Test
    void startsWithoutAMaster() throws IOException {
        MooncakeCluster.python();
        MemoryLm model = new MemoryLm(0);
        Map<String, Object> settings = Map.of(
                "master_server_address",
                "127.0.0.1:1",
                "kv_connect_timeout",
                1,
                "mooncake_home",
                MooncakeCluster.python().getParent().getParent().toString());
        try (Engine engine = start("A", KvRole.KV_BOTH, 16, model, settings)) {
            int[] prompt = EngineScenarioTest.prompt(new Random(1), 0, 60);
            Collected answer = new Collected();
            assertThat(ask(engine, "a", prompt, 12, answer).externalTokens()).isZero();
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt, 12, 200));
        }
    }
}
