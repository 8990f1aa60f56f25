package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.RequestOutput.TokenLogprobs;
import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.LoadOptions.LoadFormat;
import dev.baton.model.ModelLoader;
import dev.baton.transfer.KvTransferParams;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// A real model on the CPU: prefix caching on or off, chunks of 1 to 512 tokens, block size, batch composition,
/// preemption, priorities and a hand-off give the same tokens, and log-probabilities with the same bits, as each
/// request alone in an engine does.
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class SameBitsTest {
    private static final int VOCAB = 199;
    private static final int EOS = 7;
    private static final int CONTEXT = 256;
    private static final String MODEL = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 199, "hidden_size": 64, "intermediate_size": 96,
             "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "dtype": "float32", "rope_theta": 10000.0,
             "eos_token_id": 7}""";

    @TempDir
    static Path directory;

    private static List<Traffic> traffic = List.of();

    /// One request, and what it gets when it is alone.
    private record Traffic(int[] prompt, SamplingParams sampling, String alone) {}

    @BeforeAll
    static void runEachAlone() throws IOException {
        Files.writeString(directory.resolve("config.json"), MODEL);
        EngineConfig simple = EngineConfig.builder("model", CONTEXT)
                .maxNumSeqs(1)
                .maxNumBatchedTokens(512)
                .enablePrefixCaching(false)
                .build();
        List<Traffic> all = new ArrayList<>();
        try (Engine engine = Engine.start(simple, model())) {
            Random random = new Random(5);
            int[] shared = random.ints(100, 0, VOCAB).toArray();
            for (SamplingParams sampling : samplings()) {
                int[] prompt = random.ints(1 + random.nextInt(120), 0, VOCAB).toArray();
                System.arraycopy(shared, 0, prompt, 0, Math.min(random.nextInt(100), prompt.length));
                all.add(new Traffic(
                        prompt,
                        sampling,
                        run(engine, "r" + all.size(), prompt, sampling).bits()));
            }
        }
        traffic = List.copyOf(all);
    }

    @AfterAll
    static void forget() {
        traffic = List.of();
    }

    /// Weights from a seed, one thread: threads share rows, and results do not depend on how.
    private static CausalLm model() {
        return ModelLoader.load(
                directory,
                LoadOptions.defaults().withFormat(LoadFormat.DUMMY).withSeed(3).withCpuThreads(1));
    }

    private static List<SamplingParams> samplings() {
        Optional<TokenConstraint> constraint = Optional.of(new TurningConstraint(VOCAB, EOS, 18));
        SamplingParams.Builder[] builders = {
            SamplingParams.builder(20).temperature(0).logprobs(OptionalInt.of(3)),
            SamplingParams.builder(24).temperature(0.8f).topP(0.9f).logprobs(OptionalInt.of(1)),
            SamplingParams.builder(30)
                    .temperature(1.2f)
                    .topK(40)
                    .repetitionPenalty(1.3f)
                    .presencePenalty(0.4f)
                    .frequencyPenalty(0.2f),
            SamplingParams.builder(40).temperature(1).constraint(constraint).logprobs(OptionalInt.of(2)),
            SamplingParams.builder(25)
                    .temperature(0.9f)
                    .minP(0.2f)
                    .logitBias(Map.of(5, 0.3f, 9, -0.3f))
                    .promptLogprobs(OptionalInt.of(2)),
            SamplingParams.builder(20)
                    .temperature(2)
                    .allowedTokenIds(List.of(1, 20, 33, 64, 65, 128, 198))
                    .badWords(List.of(List.of(20, 33), List.of(64))),
            SamplingParams.builder(30)
                    .temperature(0)
                    .constraint(constraint)
                    .minTokens(10)
                    .repetitionPenalty(1.2f)
                    .promptLogprobs(OptionalInt.of(0)),
            SamplingParams.builder(15)
                    .temperature(0.5f)
                    .topP(0.5f)
                    .minTokens(15)
                    .logprobs(OptionalInt.of(0)),
        };
        List<SamplingParams> all = new ArrayList<>();
        for (int i = 0; i < 2 * builders.length; i++) {
            all.add(builders[i % builders.length]
                    .seed(OptionalLong.of(1000 + i))
                    .build());
        }
        return all;
    }

    /// A listener whose outputs can be compared to the last bit.
    private static final class Answer extends Collected {
        String bits() {
            StringBuilder text = new StringBuilder(await().reason() + " " + Arrays.toString(tokens()));
            for (List<TokenLogprobs> logprobs : List.of(promptLogprobs(), logprobs())) {
                text.append("\n");
                for (TokenLogprobs one : logprobs) {
                    text.append(Integer.toHexString(Float.floatToRawIntBits(one.logprob())))
                            .append("#")
                            .append(one.rank());
                    for (int i = 0; i < one.topTokenIds().length; i++) {
                        text.append(" ")
                                .append(one.topTokenIds()[i])
                                .append(":")
                                .append(Integer.toHexString(Float.floatToRawIntBits(one.topLogprobs()[i])));
                    }
                    text.append("; ");
                }
            }
            return text.toString();
        }
    }

    private static Answer run(Engine engine, String id, int[] prompt, SamplingParams sampling) {
        Answer answer = new Answer();
        engine.submit(new EngineRequest(id, prompt, sampling), answer);
        answer.await();
        return answer;
    }

    static List<EngineConfig> configs() {
        List<EngineConfig> all = new ArrayList<>();
        Random random = new Random(8);
        int[] budgets = {1, 2, 3, 5, 8, 16, 31, 64, 100, 128, 256, 512};
        for (int i = 0; i < 2 * budgets.length; i++) {
            int budget = budgets[i / 2];
            int maxNumSeqs = Math.min(budget, 1 + random.nextInt(8));
            int blockTokens = 1 << random.nextInt(6);
            boolean tight = random.nextBoolean();
            all.add(EngineConfig.builder("model", CONTEXT)
                    .blockTokens(blockTokens)
                    .numBlocks((tight ? 224 : 2_048) / blockTokens)
                    .maxNumSeqs(maxNumSeqs)
                    .maxNumBatchedTokens(budget)
                    .enablePrefixCaching(i % 2 == 0)
                    .schedulingPolicy(random.nextBoolean() ? SchedulingPolicy.FCFS : SchedulingPolicy.PRIORITY)
                    .longPrefillTokenThreshold(random.nextInt(3) == 0 ? 7 : 0)
                    .build());
        }
        return all;
    }

    /// Submits everything twice, in some order, with priorities and tenants, and compares.
    ///
    /// @return the engine's counters afterwards
    private static EngineStats verify(EngineConfig config) {
        Random random = new Random(config.hashCode());
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < 2 * traffic.size(); i++) {
            order.add(i % traffic.size());
        }
        Collections.shuffle(order, random);
        try (Engine engine = Engine.start(config, model())) {
            List<Answer> answers = new ArrayList<>();
            for (int i = 0; i < order.size(); i++) {
                Traffic one = traffic.get(order.get(i));
                Answer answer = new Answer();
                answers.add(answer);
                engine.submit(
                        new EngineRequest(
                                "r" + i,
                                one.prompt(),
                                one.sampling(),
                                random.nextInt(3),
                                "t" + random.nextInt(2),
                                KvTransferParams.NONE),
                        answer);
            }
            for (int i = 0; i < order.size(); i++) {
                assertThat(answers.get(i).bits())
                        .as("request %d, %s", order.get(i), config)
                        .isEqualTo(traffic.get(order.get(i)).alone());
            }
            EngineScenarioTest.quiet(engine);
            return engine.stats();
        }
    }

    @ParameterizedTest
    @MethodSource("configs")
    void nothingAboutTheEngineChangesABitOfTheOutput(EngineConfig config) {
        EngineStats stats = verify(config);
        assertThat(stats.prefixCacheHitTokens() > 0).isEqualTo(config.enablePrefixCaching());
    }

    @Test
    void preemptionChangesNoBit() {
        EngineStats stats = verify(EngineConfig.builder("model", CONTEXT)
                .blockTokens(4)
                .numBlocks(60)
                .maxNumSeqs(8)
                .maxNumBatchedTokens(40)
                .build());
        // How many depends on the order in which the threads come.
        assertThat(stats.preemptions()).isPositive();
    }

    @Test
    void handOffChangesNoBit() {
        EngineConfig.Builder config = EngineConfig.builder("model", CONTEXT)
                .blockTokens(8)
                .numBlocks(256)
                .maxNumBatchedTokens(50);
        try (MemoryNetwork network = new MemoryNetwork(3, 0, 500, 5_000);
                Engine prefiller = Engine.start(
                        config.kvTransfer(Optional.of(EngineScenarioTest.transfer("P")))
                                .build(),
                        model(),
                        network.factory());
                Engine decoder = Engine.start(
                        config.kvTransfer(Optional.of(EngineScenarioTest.transfer("D")))
                                .build(),
                        model(),
                        network.factory())) {
            List<Answer> answers = new ArrayList<>();
            for (int i = 0; i < traffic.size(); i++) {
                Traffic one = traffic.get(i);
                String id = "r" + i;
                Answer answer = new Answer();
                answers.add(answer);
                SamplingParams first = oneToken(one.sampling());
                prefiller.submit(
                        new EngineRequest(id, one.prompt(), first, KvTransferParams.REMOTE_DECODE),
                        output -> output.finish()
                                .ifPresent(finish -> decoder.submit(
                                        new EngineRequest(id, one.prompt(), one.sampling(), finish.kvTransferParams()),
                                        answer)));
            }
            for (int i = 0; i < traffic.size(); i++) {
                assertThat(answers.get(i).bits())
                        .as("request %d", i)
                        .isEqualTo(traffic.get(i).alone());
            }
            assertThat(decoder.stats().externalHitTokens()).isPositive();
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    /// What a router asks of the prefiller: one token, and nothing said about the prompt twice.
    private static SamplingParams oneToken(SamplingParams sampling) {
        SamplingParams.Builder one = SamplingParams.builder(1)
                .temperature(sampling.temperature())
                .seed(sampling.seed())
                .constraint(sampling.constraint());
        return one.build();
    }
}
