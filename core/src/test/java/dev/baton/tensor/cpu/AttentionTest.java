package dev.baton.tensor.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Attention over windows of every kind of length, against the formula and against itself under every cut.
class AttentionTest {
    private static final int TOKENS = 150;
    private static final AttentionShape HEADS = new AttentionShape(4, 2, 24, 0.3f);
    private static final int UNBOUNDED = AttentionShape.UNBOUNDED;

    /// A block that is not there: reading it ends the test.
    private static final int NO_BLOCK = 1 << 28;

    private final float[] qkv = gaussians(TOKENS * HEADS.rowSize());

    private static float[] gaussians(int count) {
        Random random = new Random(5);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /// All rows, in chunks; of every chunk's attention the blocks that it cannot see are missing.
    private float[] attend(OpsChoice choice, int threads, int window, int chunk, int blockTokens) {
        AttentionShape shape = HEADS.withWindowTokens(window);
        int blocks = Math.ceilDiv(TOKENS, blockTokens);
        RotaryTable still = new RotaryTable(new float[HEADS.headDim() / 2]);
        SequenceRows sequences = new SequenceRows();
        float[] out = new float[TOKENS * HEADS.outSize()];
        try (CpuOps ops = CpuOps.create(choice, threads);
                PagedKv kv = new PagedKv(blocks, 2, HEADS.kvHeads(), blockTokens, HEADS.headDim(), DType.F32)) {
            kv.segment().fill((byte) 0xff);
            for (int from = 0; from < TOKENS; from += chunk) {
                int count = Math.min(chunk, TOKENS - from);
                int[] table = IntStream.range(0, blocks).toArray();
                Arrays.fill(table, 0, Math.max(0, from - window + 1) / blockTokens, NO_BLOCK);
                sequences.clear();
                sequences.add(0, count, from, table);
                float[] rows = Arrays.copyOfRange(qkv, from * HEADS.rowSize(), (from + count) * HEADS.rowSize());
                float[] results = new float[count * HEADS.outSize()];
                ops.rotateAndStore(rows, shape, still, kv, 1, sequences);
                ops.attention(rows, shape, kv, 1, sequences, results);
                System.arraycopy(results, 0, out, from * HEADS.outSize(), results.length);
            }
        }
        return out;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 149, 150, UNBOUNDED})
    void queryAtPSeesTheLastWindowOfKeysUpToItsOwnAndNoBlockBeforeThem(int window) {
        float[] first = attend(OpsChoice.SCALAR, 1, window, TOKENS, 16);
        float[] expected = formula(window);
        for (int i = 0; i < expected.length; i++) {
            assertThat(first[i]).as("element %d", i).isNotNaN().isCloseTo(expected[i], within());
        }
        int[] blockSizes = {1, 8, 16, 32};
        for (OpsChoice choice : new OpsChoice[] {OpsChoice.SCALAR, OpsChoice.VECTOR}) {
            for (int chunk : new int[] {1, 7, 16, 33, 64, TOKENS}) {
                int blockTokens = blockSizes[(window % 4 + chunk) % blockSizes.length];
                assertThat(attend(choice, 1 + chunk % 3, window, chunk, blockTokens))
                        .as("%s, chunk %d, block size %d", choice, chunk, blockTokens)
                        .containsExactly(first);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"SCALAR", "VECTOR"})
    void windowThatHoldsEverythingChangesNoBit(OpsChoice choice) {
        assertThat(attend(choice, 2, TOKENS, 33, 16)).containsExactly(attend(choice, 2, UNBOUNDED, 33, 16));
        assertThat(attend(choice, 2, TOKENS - 1, 33, 16)).isNotEqualTo(attend(choice, 2, UNBOUNDED, 33, 16));
    }

    @Test
    void windowOfNothingIsRefused() {
        assertThatThrownBy(() -> HEADS.withWindowTokens(0))
                .isInstanceOf(TensorException.class)
                .hasMessage("an attention window must be at least 1 token, not 0");
    }

    private static org.assertj.core.data.Offset<Float> within() {
        return org.assertj.core.data.Offset.offset(2e-6f);
    }

    /// Softmax of the scaled products over the positions in the window, in f64.
    private float[] formula(int window) {
        int headDim = HEADS.headDim();
        float[] out = new float[TOKENS * HEADS.outSize()];
        for (int p = 0; p < TOKENS; p++) {
            int from = Math.max(0, p - window + 1);
            for (int h = 0; h < HEADS.heads(); h++) {
                int query = p * HEADS.rowSize() + HEADS.queryStart(h);
                double[] numerators = new double[p + 1 - from];
                double sum = 0;
                for (int k = from; k <= p; k++) {
                    int key = k * HEADS.rowSize() + HEADS.keyStart(h / HEADS.group());
                    double score = 0;
                    for (int d = 0; d < headDim; d++) {
                        score += (double) qkv[query + d] * qkv[key + d];
                    }
                    numerators[k - from] = Math.exp(score * HEADS.scale());
                    sum += numerators[k - from];
                }
                for (int d = 0; d < headDim; d++) {
                    double total = 0;
                    for (int k = from; k <= p; k++) {
                        int value = k * HEADS.rowSize() + HEADS.valueStart(h / HEADS.group());
                        total += numerators[k - from] * qkv[value + d];
                    }
                    out[p * HEADS.outSize() + h * headDim + d] = (float) (total / sum);
                }
            }
        }
        return out;
    }
}
