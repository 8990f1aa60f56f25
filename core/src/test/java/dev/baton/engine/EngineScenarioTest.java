package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.engine.RequestOutput.Finish;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Random traffic over random configurations: whatever is batched, preempted, shared, loaded or aborted, each
/// request gets the tokens that it would get alone, and every block is accounted for afterwards.
@Timeout(value = 120, unit = TimeUnit.SECONDS)
public class EngineScenarioTest {
    static List<Long> seeds() {
        return new Random(42).longs(40).boxed().toList();
    }

    @ParameterizedTest
    @MethodSource("seeds")
    void oneEngineGivesEachRequestTheTokensItWouldGetAlone(long seed) {
        Random random = new Random(seed);
        MemoryLm model = new MemoryLm(random.nextDouble() * 0.05);
        EngineConfig config = config(random, Optional.empty());
        try (Engine engine = Engine.start(config, model)) {
            int[] shared = prompt(random, 0, capacity(config) / 2);
            drive(engine, random, 40, shared, model, config);
        }
        assertThat(model.closed).isTrue();
    }

    /// Sends random requests, some of which are aborted, and looks at every answer.
    private static void drive(
            Engine engine, Random random, int requests, int[] shared, MemoryLm model, EngineConfig config) {
        List<Traffic> traffic = new ArrayList<>();
        for (int i = 0; i < requests; i++) {
            Traffic one = Traffic.random(random, "r" + i, shared, capacity(config));
            traffic.add(one);
            one.submit(engine, KvTransferParams.NONE);
            if (random.nextInt(6) == 0) {
                pause(random);
                engine.abort("r" + random.nextInt(i + 1));
            }
        }
        for (Traffic one : traffic) {
            one.verify(model, config);
        }
        quiet(engine);
    }

    @ParameterizedTest
    @MethodSource("seeds")
    void prefillerAndDecoderTogetherGiveTheTokensOfOneEngine(long seed) {
        Random random = new Random(seed);
        double failureShare = random.nextInt(3) * 0.2;
        int blockTokens = 1 << random.nextInt(5);
        MemoryLm prefillModel = new MemoryLm(0.03);
        MemoryLm decodeModel = new MemoryLm(0.03);
        EngineConfig prefillConfig = config(random, Optional.of(transfer("P")), blockTokens);
        EngineConfig decodeConfig = config(random, Optional.of(transfer("D")), blockTokens);
        int capacity = Math.min(capacity(prefillConfig), capacity(decodeConfig));
        try (MemoryNetwork network = new MemoryNetwork(seed, failureShare, 2_000, random.nextBoolean() ? 2_000 : 20);
                Engine prefiller = Engine.start(prefillConfig, prefillModel, network.factory());
                Engine decoder = Engine.start(decodeConfig, decodeModel, network.factory())) {
            List<Traffic> traffic = new ArrayList<>();
            int[] shared = prompt(random, 0, capacity / 2);
            for (int i = 0; i < 30; i++) {
                Traffic one = Traffic.random(random, "r" + i, shared, capacity);
                traffic.add(one);
                one.prefillThenDecode(prefiller, decoder);
                if (random.nextInt(6) == 0) {
                    pause(random);
                    String victim = "r" + random.nextInt(i + 1);
                    (random.nextBoolean() ? prefiller : decoder).abort(victim);
                }
            }
            for (Traffic one : traffic) {
                one.verify(decodeModel, decodeConfig);
            }
            quiet(prefiller);
            quiet(decoder);
            assertThat(network.node("P").numLeases()).isZero();
            assertThat(network.node("D").numLoads()).isZero();
        }
    }

    /// Saves run while requests are preempted, aborted and finished, and evict one another.
    @ParameterizedTest
    @MethodSource("seeds")
    void offloadedBlocksAreThoseThatWereComputed(long seed, @TempDir Path directory) {
        Random random = new Random(seed);
        int kind = random.nextInt(3);
        Map<String, Object> extra = new HashMap<>();
        if (kind > 0) {
            extra.put("cpu_bytes_to_use", 4_000 + random.nextInt(40_000));
            extra.put("eviction_policy", random.nextBoolean() ? "lru" : "arc");
        }
        if (kind != 1) {
            extra.put(
                    "secondary_tiers",
                    List.of(Map.of("type", "fs", "root_dir", directory.toString(), "max_bytes", 50_000)));
        }
        EngineConfig config = config(random, Optional.of(offload(extra)));
        for (int start = 0; start < 2; start++) { // the second finds the files of the first
            try (Engine engine = Engine.start(config, new MemoryLm(0))) {
                int[] shared = prompt(new Random(seed), 0, capacity(config) / 2);
                drive(engine, random, 30, shared, new MemoryLm(0), config);
            }
        }
    }

    static KvTransferConfig offload(Map<String, Object> extra) {
        return new KvTransferConfig(
                "OffloadingConnector", KvRole.KV_BOTH, "O", "127.0.0.1", 0, KvLoadFailurePolicy.RECOMPUTE, extra);
    }

    /// One request of the traffic and what became of it.
    private static final class Traffic {
        final String id;
        final int[] prompt;
        final int maxTokens;
        final Collected answer = new Collected();

        Traffic(String id, int[] prompt, int maxTokens) {
            this.id = id;
            this.prompt = prompt;
            this.maxTokens = maxTokens;
        }

        static Traffic random(Random random, String id, int[] shared, int capacity) {
            int length = 1 + random.nextInt(capacity - 1);
            int common = random.nextBoolean() ? Math.min(random.nextInt(shared.length + 1), length) : 0;
            int[] prompt = prompt(random, length, length);
            System.arraycopy(shared, 0, prompt, 0, common);
            return new Traffic(id, prompt, 1 + random.nextInt(2 * capacity));
        }

        void submit(Engine engine, KvTransferParams params) {
            engine.submit(new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), params), answer);
        }

        /// What a router does: one token on the prefiller, then the whole request on the decoder with what it
        /// returned.
        void prefillThenDecode(Engine prefiller, Engine decoder) {
            EngineRequest leg = new EngineRequest(id, prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE);
            prefiller.submit(
                    leg, output -> output.finish().ifPresent(finish -> submit(decoder, finish.kvTransferParams())));
        }

        void verify(MemoryLm model, EngineConfig config) {
            Finish finish = answer.await();
            int[] expected = model.reference(prompt, maxTokens, capacity(config));
            int[] tokens = answer.tokens();
            assertThat(answer.late()).isEmpty();
            assertThat(finish.promptTokens()).isEqualTo(prompt.length);
            switch (finish.reason()) {
                case ABORT ->
                    assertThat(tokens).isEqualTo(Arrays.copyOf(expected, Math.min(tokens.length, expected.length)));
                case STOP -> {
                    assertThat(tokens).isEqualTo(expected);
                    assertThat(tokens[tokens.length - 1]).isEqualTo(MemoryLm.EOS);
                }
                case LENGTH -> {
                    assertThat(tokens).isEqualTo(expected);
                    assertThat(tokens.length).isEqualTo(Math.min(maxTokens, capacity(config) - prompt.length));
                }
                case ERROR -> throw new AssertionError("request " + id + " failed: " + finish.error());
            }
        }
    }

    /// Waits until nothing runs and nothing is held, then looks where the blocks are.
    public static void quiet(Engine engine) {
        usage(engine); // answered behind the step that gave the caller its answer, whose numbers are published then
        await().atMost(Duration.ofSeconds(10))
                .pollInterval(Duration.ofMillis(2))
                .until(() -> {
                    EngineStats stats = engine.stats();
                    return stats.numRunning() + stats.numWaiting() + stats.numHeld() + stats.numLoading() == 0;
                });
        BlockUsage usage = usage(engine);
        assertThat(usage.inUse()).isZero();
        assertThat(usage.free() + usage.cached()).isEqualTo(usage.total());
        assertThat(engine.stats().blocks()).isEqualTo(usage);
        assertThat(engine.isHealthy()).isTrue();
    }

    private static BlockUsage usage(Engine engine) {
        return engine.checkIntegrity().orTimeout(20, TimeUnit.SECONDS).join();
    }

    static int capacity(EngineConfig config) {
        return Math.min(config.maxModelLen(), config.numBlocks() * config.blockTokens());
    }

    private static EngineConfig config(Random random, Optional<KvTransferConfig> transfer) {
        return config(random, transfer, 1 << random.nextInt(5));
    }

    private static EngineConfig config(Random random, Optional<KvTransferConfig> transfer, int blockTokens) {
        int maxNumSeqs = 1 + random.nextInt(8);
        return EngineConfig.builder("memory", 20 + random.nextInt(60))
                .blockTokens(blockTokens)
                .numBlocks(Math.max(2, (20 + random.nextInt(120)) / blockTokens))
                .maxNumSeqs(maxNumSeqs)
                .maxNumBatchedTokens(maxNumSeqs + random.nextInt(40))
                .maxWaiting(1_000)
                .enablePrefixCaching(random.nextInt(4) > 0)
                .prefillTokensBesideDecodes(random.nextInt(3) * random.nextInt(10))
                .stepDeadline(Duration.ofSeconds(10))
                .kvTransfer(transfer)
                .build();
    }

    static KvTransferConfig transfer(String engineId) {
        return new KvTransferConfig(
                "MemoryNetwork", KvRole.KV_BOTH, engineId, "memory", 0, KvLoadFailurePolicy.RECOMPUTE, Map.of());
    }

    public static int[] prompt(Random random, int atLeast, int length) {
        return random.ints(Math.max(atLeast, length), 0, MemoryLm.VOCAB).toArray();
    }

    private static void pause(Random random) {
        try {
            Thread.sleep(0, random.nextInt(900_000));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
