package dev.baton.tensor.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.DType;
import dev.baton.tensor.Quantization;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Vector API loops against the scalar reference, bit for bit, and the reference against double arithmetic.
class KernelsTest {
    private final Kernels scalar = new ScalarKernels();
    private final Kernels vector = new VectorKernels();
    private final Arena arena = Arena.ofShared();
    private final WorkerPool pool = new WorkerPool(1);
    private final Random random = new Random(42);
    private final float[] partials = new float[Sums.PARTIALS];
    private final MemorySegment scratch = arena.allocate(24L * 16 * PackedMatrix.PANEL_VECTORS * Float.BYTES, 64);

    @AfterEach
    void close() {
        pool.close();
        arena.close();
    }

    static IntStream sizes() {
        return IntStream.of(1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 384, 1000);
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F32", "BF16"})
    void panelProductsGiveTheSameBitsForEveryShape(DType dtype) {
        for (int inputs : new int[] {1, 15, 16, 17, 65}) {
            for (int outputs : new int[] {1, 16, 63, 64, 65, 130}) {
                Matrix matrix = matrix(dtype, outputs, inputs);
                PackedMatrix packed = PackedMatrix.pack(arena, vector.lanes(), Quantization.NONE, pool, matrix);
                for (int rows = 1; rows <= 70; rows += rows < 9 ? 1 : 12) {
                    float[] a = floats(rows * inputs);
                    int stride = packed.panels() * packed.panelColumns();
                    float[] expected = new float[rows * stride];
                    float[] actual = new float[rows * stride];
                    for (int panel = 0; panel < packed.panels(); panel++) {
                        int at = panel * packed.panelColumns();
                        scalar.multiplyPanel(a, 0, inputs, rows, packed, panel, expected, at, stride, scratch);
                        vector.multiplyPanel(a, 0, inputs, rows, packed, panel, actual, at, stride, scratch);
                    }
                    assertThat(actual)
                            .as("%d rows, %d inputs, %d outputs", rows, inputs, outputs)
                            .containsExactly(expected);
                    assertThat(expected[(rows - 1) * stride + outputs - 1])
                            .isEqualTo(chain(a, (rows - 1) * inputs, matrix, outputs - 1));
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void quantisedPanelProductsGiveTheSameBitsForEveryShape(DType dtype) {
        for (int inputs : new int[] {1, 16, 24, 25, 65}) { // scratch memory has room for 24
            for (int outputs : new int[] {1, 63, 64, 130}) {
                Matrix matrix = matrix(dtype, outputs, inputs);
                PackedMatrix packed = PackedMatrix.pack(arena, vector.lanes(), Quantization.INT8, pool, matrix);
                assertThat(packed.format()).isEqualTo(WeightFormat.INT8);
                for (int rows : new int[] {1, 2, 3, 4, 5, 9, 30}) {
                    float[] a = floats(rows * inputs);
                    int stride = packed.panels() * packed.panelColumns();
                    float[] expected = new float[rows * stride];
                    float[] actual = new float[rows * stride];
                    for (int panel = 0; panel < packed.panels(); panel++) {
                        int at = panel * packed.panelColumns();
                        scalar.multiplyPanel(a, 0, inputs, rows, packed, panel, expected, at, stride, scratch);
                        vector.multiplyPanel(a, 0, inputs, rows, packed, panel, actual, at, stride, scratch);
                    }
                    assertThat(actual)
                            .as("%d rows, %d inputs, %d outputs", rows, inputs, outputs)
                            .containsExactly(expected);
                    for (int output = 0; output < outputs; output++) {
                        assertThat(expected[(rows - 1) * stride + output])
                                .isEqualTo(quantisedChain(a, (rows - 1) * inputs, matrix, output));
                    }
                }
            }
        }
    }

    /// What an element of a product with quantised weights is defined to be.
    private static float quantisedChain(float[] a, int from, Matrix matrix, int row) {
        float greatest = 0f;
        for (int k = 0; k < matrix.columns(); k++) {
            greatest = Math.max(greatest, Math.abs(matrix.get(row, k)));
        }
        float scale = greatest / 127;
        float sum = 0f;
        for (int k = 0; k < matrix.columns(); k++) {
            sum = Math.fma(a[from + k], (float) Math.rint(matrix.get(row, k) / scale), sum);
        }
        return sum * scale;
    }

    @Test
    void quantisedWeightsAreWithinHalfAStepOfWhatTheyWere() {
        Matrix matrix = matrix(DType.F32, 70, 33);
        for (int k = 0; k < 33; k++) {
            matrix.data().setAtIndex(ValueLayout.JAVA_FLOAT, 33 + k, 0f);
        }
        matrix.data().setAtIndex(ValueLayout.JAVA_FLOAT, 2 * 33 + 4, Float.NaN);
        matrix.data().setAtIndex(ValueLayout.JAVA_FLOAT, 3 * 33 + 5, Float.NEGATIVE_INFINITY);
        PackedMatrix packed = PackedMatrix.pack(arena, 16, Quantization.INT8, pool, matrix);
        for (int output = 0; output < 70; output++) {
            float greatest = 0f;
            for (int k = 0; k < 33; k++) {
                greatest = Math.max(greatest, Math.abs(matrix.get(output, k)));
            }
            for (int k = 0; k < 33; k++) {
                if (output == 2 || output == 3) {
                    assertThat(packed.get(output, k)).isNaN();
                } else {
                    assertThat(packed.get(output, k))
                            .isCloseTo(matrix.get(output, k), within(greatest / 127 * 0.5001f));
                }
            }
        }
    }

    /// What a product's element is defined to be.
    private static float chain(float[] a, int from, Matrix matrix, int row) {
        float sum = 0f;
        for (int k = 0; k < matrix.columns(); k++) {
            sum = Math.fma(a[from + k], matrix.get(row, k), sum);
        }
        return sum;
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void productsWithDenseMatricesGiveTheSameBits(int columns) {
        int inner = 19;
        MemorySegment b = segment(inner * (columns + 3));
        for (int rows : new int[] {1, 2, 3, 4, 5, 8, 21}) {
            for (boolean accumulate : new boolean[] {false, true}) {
                float[] a = floats(rows * 25);
                float[] expected = floats(rows * (columns + 5) + 2);
                float[] actual = expected.clone();
                scalar.multiply(
                        a, 1, 25, rows, b, 8, columns + 2, inner, columns, expected, 2, columns + 5, accumulate);
                vector.multiply(a, 1, 25, rows, b, 8, columns + 2, inner, columns, actual, 2, columns + 5, accumulate);
                assertThat(actual)
                        .as("%d rows, accumulate %s", rows, accumulate)
                        .containsExactly(expected);
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16"})
    void all65536SixteenBitNumbersWidenExactly(DType dtype) {
        MemorySegment source = arena.allocate(65536 * Short.BYTES, 64);
        for (int i = 0; i < 65536; i++) {
            source.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) i);
        }
        for (Kernels kernels : new Kernels[] {scalar, vector}) {
            MemorySegment target = segment(65536);
            kernels.widen(source, 0, dtype, 65536, target, 0);
            for (int i = 0; i < 65536; i++) {
                float expected = dtype == DType.F16 ? Float.float16ToFloat((short) i) : Float.intBitsToFloat(i << 16);
                assertThat(Float.floatToIntBits(target.getAtIndex(ValueLayout.JAVA_FLOAT, i)))
                        .as("bits %x", i)
                        .isEqualTo(Float.floatToIntBits(expected));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void conversionsGiveTheSameBitsAndComeBackToWhatTheyWere(DType dtype) {
        float[] special = {
            Float.NaN,
            -0f,
            Float.POSITIVE_INFINITY,
            Float.NEGATIVE_INFINITY,
            Float.MAX_VALUE,
            Float.MIN_VALUE,
            65504f,
            65520f,
            1f + 0x1p-8f,
            1f + 0x3p-8f,
            1f + 0x1p-11f,
            1f + 0x3p-11f,
            0x1p-24f,
            0x1p-25f,
            0x1.8p-25f,
        };
        for (int count : sizes().toArray()) {
            float[] x = scaled(floats(count + 1), 100f);
            for (int i = 0; i < Math.min(count, special.length); i++) {
                x[1 + (i * 7) % count] = special[i];
            }
            MemorySegment expected = arena.allocate(8L + count * dtype.bytes(), 64);
            MemorySegment actual = arena.allocate(expected.byteSize(), 64);
            scalar.narrow(x, 1, count, dtype, expected, 8);
            vector.narrow(x, 1, count, dtype, actual, 8);
            assertThat(actual.mismatch(expected)).as("%d elements", count).isEqualTo(-1);
            MemorySegment floats = segment(count + 1);
            MemorySegment again = arena.allocate(expected.byteSize(), 64);
            vector.widen(actual, 8, dtype, count, floats, 4);
            float[] back = floats.toArray(ValueLayout.JAVA_FLOAT);
            for (int i = 1; i <= count; i++) {
                float nearest = switch (dtype) {
                    case F32 -> x[i];
                    case F16 -> Float.float16ToFloat(Float.floatToFloat16(x[i]));
                    case BF16 -> DType.bf16ToFloat(DType.floatToBf16(x[i]));
                };
                assertThat(Float.floatToIntBits(back[i])).isEqualTo(Float.floatToIntBits(nearest));
            }
            vector.narrow(back, 1, count, dtype, again, 8);
            assertThat(again.mismatch(actual)).isEqualTo(-1);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 8, 15, 16, 17, 32, 48, 64, 72, 128})
    void rowsFromAnywhereBecomeColumns(int columns) {
        MemorySegment source = segment(100 * columns);
        for (int rows : new int[] {1, 5, 15, 16, 17, 31, 33, 64}) {
            long[] offsets = random.longs(64, 0, 100)
                    .map(row -> row * columns * Float.BYTES)
                    .toArray();
            MemorySegment target = segment(columns * 64);
            vector.transpose(source, offsets, rows, columns, target, 64);
            for (int c = 0; c < columns; c++) {
                for (int r = 0; r < rows; r++) {
                    assertThat(target.getAtIndex(ValueLayout.JAVA_FLOAT, c * 64 + r))
                            .isEqualTo(source.get(ValueLayout.JAVA_FLOAT, offsets[r] + (long) c * Float.BYTES));
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void softmaxGivesTheSameBits(int count) {
        float[] expected = scaled(floats(count + 3), 20f);
        float[] actual = expected.clone();
        double[] reference = softmax(expected, 2, count);
        float sum = scalar.softmaxNumerators(expected, 2, count, partials);
        assertThat(vector.softmaxNumerators(actual, 2, count, partials)).isEqualTo(sum);
        assertThat(actual).containsExactly(expected);
        for (int i = 0; i < count; i++) {
            assertThat(expected[2 + i] / sum).isCloseTo((float) reference[i], within(1e-6f));
        }
    }

    private static double[] softmax(float[] x, int from, int count) {
        double max = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            max = Math.max(max, x[from + i]);
        }
        double sum = 0;
        double[] result = new double[count];
        for (int i = 0; i < count; i++) {
            result[i] = Math.exp(x[from + i] - max);
            sum += result[i];
        }
        for (int i = 0; i < count; i++) {
            result[i] /= sum;
        }
        return result;
    }

    private static org.assertj.core.data.Offset<Float> within(float offset) {
        return org.assertj.core.data.Offset.offset(offset);
    }

    @Test
    void softmaxOfOneBadScoreIsNotANumberInBoth() {
        for (int bad : new int[] {0, 15, 16, 20}) {
            float[] scores = floats(21);
            scores[bad] = Float.NaN;
            assertThat(scalar.softmaxNumerators(scores.clone(), 0, 21, partials))
                    .isNaN();
            assertThat(vector.softmaxNumerators(scores.clone(), 0, 21, partials))
                    .isNaN();
        }
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void normGivesTheSameBits(int count) {
        float[] x = floats(count + 2);
        float[] weight = floats(count);
        float[] expected = new float[count + 1];
        float[] actual = new float[count + 1];
        scalar.rmsNorm(x, 2, count, weight, 1e-5f, expected, 1, partials);
        vector.rmsNorm(x, 2, count, weight, 1e-5f, actual, 1, partials);
        assertThat(actual).containsExactly(expected);
        double squares = 0;
        for (int i = 0; i < count; i++) {
            squares += (double) x[2 + i] * x[2 + i];
        }
        for (int i = 0; i < count; i++) {
            float reference = (float) (x[2 + i] / Math.sqrt(squares / count + 1e-5) * weight[i]);
            assertThat(expected[1 + i]).isCloseTo(reference, within(1e-5f));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 8, 16, 30, 32, 64, 80, 96, 128})
    void rotationGivesTheSameBits(int headDim) {
        float[] expected = floats(headDim + 4);
        float[] before = expected.clone();
        float[] actual = expected.clone();
        float[] cos = floats(headDim);
        float[] sin = floats(headDim);
        scalar.rotate(expected, 3, headDim, cos, sin, headDim / 2);
        vector.rotate(actual, 3, headDim, cos, sin, headDim / 2);
        assertThat(actual).containsExactly(expected);
        int half = headDim / 2;
        assertThat(expected[3]).isCloseTo(before[3] * cos[half] - before[3 + half] * sin[half], within(1e-6f));
        assertThat(expected[3 + half]).isCloseTo(before[3 + half] * cos[half] + before[3] * sin[half], within(1e-6f));
    }

    @ParameterizedTest
    @MethodSource("sizes")
    void elementwiseOperationsGiveTheSameBits(int count) {
        float[] gateUp = scaled(floats(2 * count), 30f);
        float[] expected = new float[count];
        float[] actual = new float[count];
        scalar.siluMultiply(gateUp, 0, count, count, expected, 0);
        vector.siluMultiply(gateUp, 0, count, count, actual, 0);
        assertThat(actual).containsExactly(expected);
        double gate = gateUp[count - 1];
        assertThat(expected[count - 1])
                .isCloseTo((float) (gate / (1 + Math.exp(-gate)) * gateUp[2 * count - 1]), within(1e-3f));

        float[] y = floats(count);
        scalar.add(expected, 0, y, 0, count);
        vector.add(actual, 0, y, 0, count);
        assertThat(actual).containsExactly(expected);
        scalar.scale(y, 0, count, 0.3f, expected, 0);
        vector.scale(y, 0, count, 0.3f, actual, 0);
        assertThat(actual).containsExactly(expected);
    }

    @Test
    void exponentialIsAccurate() {
        for (float x = -87f; x <= 88f; x += 0.0137f) {
            double exact = Math.exp(x);
            assertThat((double) Exp.exp(x) / exact - 1).isBetween(-3e-7, 3e-7);
        }
        assertThat(Exp.exp(0f)).isEqualTo(1f);
        assertThat(Exp.exp(Float.NaN)).isNaN();
        assertThat(Exp.exp(-1000f)).isLessThan(2e-38f);
        assertThat(Exp.exp(1000f)).isFinite();
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void packedMatrixHoldsEveryWeightOfItsParts(DType dtype) {
        Matrix first = matrix(dtype, 37, 29);
        Matrix second = matrix(dtype, 70, 29);
        for (int lanes : new int[] {4, 8, 16}) {
            PackedMatrix packed = PackedMatrix.pack(arena, lanes, Quantization.NONE, pool, first, second);
            assertThat(packed.format()).isEqualTo(dtype == DType.BF16 ? WeightFormat.BF16 : WeightFormat.F32);
            for (int output = 0; output < 107; output++) {
                for (int input = 0; input < 29; input++) {
                    float expected = output < 37 ? first.get(output, input) : second.get(output - 37, input);
                    assertThat(packed.get(output, input)).isEqualTo(expected);
                }
            }
        }
    }

    private Matrix matrix(DType dtype, int rows, int columns) {
        MemorySegment data = arena.allocate((long) rows * columns * dtype.bytes(), 4);
        for (int i = 0; i < rows * columns; i++) {
            float value = (float) random.nextGaussian();
            switch (dtype) {
                case F32 -> data.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
                case F16 -> data.setAtIndex(ValueLayout.JAVA_SHORT, i, Float.floatToFloat16(value));
                case BF16 -> data.setAtIndex(ValueLayout.JAVA_SHORT, i, DType.floatToBf16(value));
            }
        }
        return new Matrix(data, dtype, rows, columns);
    }

    private MemorySegment segment(int count) {
        return arena.allocate((long) count * Float.BYTES, 64).copyFrom(MemorySegment.ofArray(floats(count)));
    }

    private float[] floats(int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    private static float[] scaled(float[] values, float factor) {
        for (int i = 0; i < values.length; i++) {
            values[i] *= factor;
        }
        return values;
    }
}
