package dev.baton.model.decoder;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.OpsChoice;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// A model over KV caches of 16-bit elements: close to f32, and as independent of every cut of the work.
class KvCacheDtypeTest {
    private static final String FIXTURE = "llama-f32";

    private static CausalLm load(OpsChoice ops, int threads) {
        return ModelLoader.load(
                ModelFixture.read(FIXTURE).directory(),
                LoadOptions.defaults().withOps(ops).withCpuThreads(threads));
    }

    @ParameterizedTest
    @CsvSource({"BF16, 2e-2", "F16, 2e-3"})
    void logitsDifferFromThoseOfAnF32CacheByTheRoundingOnly(DType dtype, double tolerance) {
        ModelFixture fixture = ModelFixture.read(FIXTURE);
        try (CausalLm model = load(OpsChoice.AUTO, 2)) {
            for (int length : new int[] {2, 17, 75}) {
                float[] exact = ModelFixture.lastLogits(model, fixture.inputIds(), length, length, 16);
                float[] rounded = ModelFixture.lastLogits(model, fixture.inputIds(), length, length, 16, dtype);
                double difference = 0;
                double greatest = 0;
                for (int i = 0; i < exact.length; i++) {
                    assertThat(rounded[i]).isNotNaN();
                    difference = Math.max(difference, Math.abs(rounded[i] - exact[i]));
                    greatest = Math.max(greatest, Math.abs(exact[i]));
                }
                assertThat(difference / greatest)
                        .as("length %d", length)
                        .isPositive()
                        .isLessThan(tolerance);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16"})
    void logitsAreTheSameBitsForEveryChunkBlockSizeAndImplementation(DType dtype) {
        int[] tokens = ModelFixture.read(FIXTURE).inputIds();
        try (CausalLm scalar = load(OpsChoice.SCALAR, 1);
                CausalLm vector = load(OpsChoice.VECTOR, 3)) {
            for (int length : new int[] {1, 16, 17, 63, 65, 75}) {
                float[] whole = ModelFixture.lastLogits(scalar, tokens, length, length, 16, dtype);
                for (CausalLm model : new CausalLm[] {scalar, vector}) {
                    for (int chunk : new int[] {1, 7, 16, 33, 1000}) {
                        for (int blockTokens : new int[] {8, 16, 32, 128}) {
                            assertThat(ModelFixture.lastLogits(model, tokens, length, chunk, blockTokens, dtype))
                                    .as("length %d, chunk %d, block size %d", length, chunk, blockTokens)
                                    .containsExactly(whole);
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16"})
    void logitsAreTheSameBitsInABatchOfOtherSequences(DType dtype) {
        Random random = new Random(5);
        int[] lengths = {70, 1, 33, 16, 40};
        try (CausalLm model = load(OpsChoice.VECTOR, 2)) {
            int vocab = model.config().vocabSize();
            int[][] prompts = Arrays.stream(lengths)
                    .mapToObj(n -> random.ints(n, 0, vocab).toArray())
                    .toArray(int[][]::new);
            int blocksEach = 5;
            int[] pool = ModelFixture.shuffledBlocks(lengths.length * blocksEach, 3);
            ForwardBatch batch = new ForwardBatch(300, lengths.length);
            float[] logits = new float[lengths.length * vocab];
            try (PagedKv kv = ModelFixture.cache(model, pool.length, 16, dtype)) {
                // All but the last token of each, then the last ones together.
                for (boolean last : new boolean[] {false, true}) {
                    batch.clear();
                    for (int s = 0; s < lengths.length; s++) {
                        int[] table = Arrays.copyOfRange(pool, s * blocksEach, (s + 1) * blocksEach);
                        int before = lengths[s] - 1;
                        if (last) {
                            batch.add(prompts[s], before, 1, table, true);
                        } else if (before > 0) {
                            batch.add(prompts[s], 0, before, table, false);
                        }
                    }
                    model.forward(batch, kv, logits);
                }
            }
            for (int s = 0; s < lengths.length; s++) {
                assertThat(Arrays.copyOfRange(logits, s * vocab, (s + 1) * vocab))
                        .as("sequence %d", s)
                        .containsExactly(ModelFixture.lastLogits(model, prompts[s], lengths[s], lengths[s], 16, dtype));
            }
        }
    }
}
