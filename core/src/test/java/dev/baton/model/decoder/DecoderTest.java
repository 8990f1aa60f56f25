package dev.baton.model.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelException;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.OpsChoice;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Every family's forward pass against Hugging Face transformers, and against itself under every cut of the work.
class DecoderTest {
    private static final double TOLERANCE = 1e-4;

    /// Against logits that were themselves computed in bfloat16.
    private static final double BF16_TOLERANCE = 2e-2;

    private static final int[] CHUNKS = {1, 2, 3, 7, 16, 31, 33, 64, 127, 128, 129, 255, 256, 511, 512};
    private static final int[] BLOCK_SIZES = {8, 16, 32};

    static Stream<Arguments> fixturesAndOps() {
        return ModelFixture.NAMES.stream()
                .flatMap(name -> Stream.of(
                        Arguments.of(name, OpsChoice.SCALAR, 1),
                        Arguments.of(name, OpsChoice.SCALAR, 3),
                        Arguments.of(name, OpsChoice.VECTOR, 1),
                        Arguments.of(name, OpsChoice.VECTOR, 2)));
    }

    private static CausalLm load(String fixture, OpsChoice ops, int threads) {
        return ModelLoader.load(
                ModelFixture.read(fixture).directory(),
                LoadOptions.defaults().withOps(ops).withCpuThreads(threads));
    }

    @ParameterizedTest(name = "{0}, {1}, {2} threads")
    @MethodSource("fixturesAndOps")
    void logitsAgreeWithTransformers(String name, OpsChoice ops, int threads) {
        ModelFixture fixture = ModelFixture.read(name);
        try (CausalLm model = load(name, ops, threads)) {
            for (int i = 0; i < fixture.positions().length; i++) {
                int length = fixture.positions()[i] + 1;
                float[] logits = ModelFixture.lastLogits(model, fixture.inputIds(), length, length, 16);
                assertThat(relativeError(logits, fixture.logits()[i]))
                        .as("position %d", length - 1)
                        .isLessThan(TOLERANCE);
                if (fixture.bf16Logits().length > 0) {
                    assertThat(relativeError(logits, fixture.bf16Logits()[i]))
                            .as("position %d, in bfloat16", length - 1)
                            .isLessThan(BF16_TOLERANCE);
                }
            }
        }
    }

    @ParameterizedTest(name = "{0}, {1}, {2} threads")
    @MethodSource("fixturesAndOps")
    void greedyTokensAreThoseOfTransformers(String name, OpsChoice ops, int threads) {
        ModelFixture fixture = ModelFixture.read(name);
        assertThat(fixture.greedy()).hasSize(64);
        try (CausalLm model = load(name, ops, threads)) {
            for (int chunk : new int[] {13, 64, 512}) {
                assertThat(ModelFixture.greedy(
                                model, fixture.inputIds(), fixture.greedy().length, chunk, chunk == 13 ? 8 : 16))
                        .as("chunk %d", chunk)
                        .containsExactly(fixture.greedy());
            }
        }
    }

    @ParameterizedTest(name = "{0}, {1}, {2} threads")
    @MethodSource("fixturesAndOps")
    void logitsAreTheSameBitsForEveryChunkAndBlockSize(String name, OpsChoice ops, int threads) {
        int[] lengths = ops == OpsChoice.SCALAR ? new int[] {1, 17, 65} : new int[] {1, 2, 15, 16, 17, 33, 64, 65, 513};
        try (CausalLm model = load(name, ops, threads)) {
            int[] tokens =
                    new Random(9).ints(513, 0, model.config().vocabSize()).toArray();
            for (int length : lengths) {
                float[] whole = ModelFixture.lastLogits(model, tokens, length, length, 16);
                for (int chunk : CHUNKS) {
                    if (chunk <= length || chunk == CHUNKS[CHUNKS.length - 1]) {
                        int blockTokens = BLOCK_SIZES[(chunk + length) % BLOCK_SIZES.length];
                        assertThat(ModelFixture.lastLogits(model, tokens, length, chunk, blockTokens))
                                .as("length %d, chunk %d, block size %d", length, chunk, blockTokens)
                                .containsExactly(whole);
                    }
                }
                for (int blockTokens : BLOCK_SIZES) {
                    assertThat(ModelFixture.lastLogits(model, tokens, length, length, blockTokens))
                            .as("length %d, block size %d", length, blockTokens)
                            .containsExactly(whole);
                }
            }
        }
    }

    @ParameterizedTest(name = "{0}, {1}, {2} threads")
    @MethodSource("fixturesAndOps")
    void logitsAreTheSameBitsInABatchOfOtherSequences(String name, OpsChoice ops, int threads) {
        Random random = new Random(7);
        int vocab = ModelFixture.read(name).logits()[0].length;
        int[] lengths = {70, 1, 33, 16, 5, 64, 40};
        List<int[]> prompts = new ArrayList<>();
        for (int length : lengths) {
            prompts.add(random.ints(length, 0, vocab).toArray());
        }
        try (CausalLm model = load(name, ops, threads)) {
            float[][] alone = new float[lengths.length][];
            for (int s = 0; s < lengths.length; s++) {
                alone[s] = ModelFixture.lastLogits(model, prompts.get(s), lengths[s], 1000, 16);
            }
            for (int trial = 0; trial < 10; trial++) {
                float[][] together = runTogether(model, prompts, random);
                for (int s = 0; s < lengths.length; s++) {
                    assertThat(together[s])
                            .as("trial %d, sequence %d", trial, s)
                            .containsExactly(alone[s]);
                }
            }
        }
    }

    /// All prompts over one cache, each step with random numbers of tokens of random sequences.
    private static float[][] runTogether(CausalLm model, List<int[]> prompts, Random random) {
        int blockTokens = 8;
        int vocab = model.config().vocabSize();
        int blocks = prompts.stream()
                .mapToInt(p -> Math.ceilDiv(p.length, blockTokens))
                .sum();
        int[] pool = ModelFixture.shuffledBlocks(blocks, random.nextLong());
        int[][] tables = new int[prompts.size()][];
        int used = 0;
        for (int s = 0; s < tables.length; s++) {
            int needed = Math.ceilDiv(prompts.get(s).length, blockTokens);
            tables[s] = Arrays.copyOfRange(pool, used, used + needed);
            used += needed;
        }
        ForwardBatch batch = new ForwardBatch(300, prompts.size());
        float[] logits = new float[prompts.size() * vocab];
        float[][] results = new float[prompts.size()][];
        int[] done = new int[prompts.size()];
        try (PagedKv kv = ModelFixture.cache(model, blocks, blockTokens)) {
            while (true) {
                batch.clear();
                List<Integer> finishing = new ArrayList<>();
                for (int s = 0; s < done.length; s++) {
                    int left = prompts.get(s).length - done[s];
                    if (left > 0 && random.nextInt(4) > 0) {
                        int count = random.nextInt(3) == 0 ? 1 : 1 + random.nextInt(left);
                        boolean last = count == left;
                        batch.add(prompts.get(s), done[s], count, tables[s], last);
                        done[s] += count;
                        if (last) {
                            finishing.add(s);
                        }
                    }
                }
                model.forward(batch, kv, logits);
                for (int i = 0; i < finishing.size(); i++) {
                    results[finishing.get(i)] = Arrays.copyOfRange(logits, i * vocab, (i + 1) * vocab);
                }
                if (Arrays.stream(results).allMatch(r -> r != null)) {
                    return results;
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("names")
    void scalarAndVectorGiveTheSameBits(String name) {
        ModelFixture fixture = ModelFixture.read(name);
        try (CausalLm scalar = load(name, OpsChoice.SCALAR, 1);
                CausalLm vector = load(name, OpsChoice.VECTOR, 2)) {
            for (int length : new int[] {1, 17, fixture.inputIds().length}) {
                assertThat(ModelFixture.lastLogits(vector, fixture.inputIds(), length, 1000, 16))
                        .containsExactly(ModelFixture.lastLogits(scalar, fixture.inputIds(), length, 1000, 8));
            }
        }
    }

    @Test
    void tensorThatIsMissingOrHasAnotherShapeIsNamedInOneSentence(@TempDir Path folder) throws IOException {
        Path llama = ModelFixture.read("llama-f32").directory();
        Files.copy(llama.resolve("model.safetensors"), folder.resolve("model.safetensors"));
        String config = Files.readString(llama.resolve("config.json"));
        Files.writeString(folder.resolve("config.json"), config.replace("LlamaFor", "Qwen2For"));
        assertThatThrownBy(
                        () -> ModelLoader.load(folder, LoadOptions.defaults()).close())
                .isInstanceOf(ModelException.class)
                .hasMessageStartingWith("the tensor model.layers.0.self_attn.q_proj.bias of shape [96] is missing in "
                        + folder + ", which has 21 tensors");
        Files.writeString(folder.resolve("config.json"), config.replace("LlamaFor", "Qwen3For"));
        assertThatThrownBy(
                        () -> ModelLoader.load(folder, LoadOptions.defaults()).close())
                .isInstanceOf(ModelException.class)
                .hasMessageStartingWith("the tensor model.layers.0.self_attn.q_norm.weight of shape [32] is missing");
        Files.writeString(
                folder.resolve("config.json"),
                config.replace("\"intermediate_size\": 88", "\"intermediate_size\": 96"));
        assertThatThrownBy(
                        () -> ModelLoader.load(folder, LoadOptions.defaults()).close())
                .isInstanceOf(ModelException.class)
                .hasMessage(folder.resolve("model.safetensors") + ": the tensor model.layers.0.mlp.gate_proj.weight"
                        + " has the shape [88, 48], config.json asks for [96, 48]");
    }

    static Stream<String> names() {
        return ModelFixture.NAMES.stream();
    }

    /// Greatest difference over greatest expected value; NaN if anything is.
    private static double relativeError(float[] actual, float[] expected) {
        assertThat(actual).hasSameSizeAs(expected);
        double difference = 0;
        double greatest = 0;
        for (int i = 0; i < expected.length; i++) {
            assertThat(actual[i]).as("logit %d", i).isNotNaN();
            difference = Math.max(difference, Math.abs(actual[i] - expected[i]));
            greatest = Math.max(greatest, Math.abs(expected[i]));
        }
        return difference / greatest;
    }
}
