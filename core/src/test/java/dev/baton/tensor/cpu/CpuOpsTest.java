package dev.baton.tensor.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.TensorException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CpuOpsTest {
    private static final float[] NOTHING = {};

    @ParameterizedTest
    @CsvSource({
        "SCALAR, 1, NONE",
        "SCALAR, 3, INT8",
        "VECTOR, 1, NONE",
        "VECTOR, 2, NONE",
        "VECTOR, 5, NONE",
        "VECTOR, 2, INT8"
    })
    void rowsOfAProductDoNotDependOnTheirNumberNorOnThreads(OpsChoice choice, int threads, Quantization quantization) {
        Random random = new Random(11);
        int inputs = 96;
        int outputs = 200;
        try (Arena arena = Arena.ofShared();
                CpuOps reference = CpuOps.create(OpsChoice.SCALAR, 1, quantization);
                CpuOps ops = CpuOps.create(choice, threads, quantization)) {
            Matrix matrix = new Matrix(
                    arena.allocate((long) outputs * inputs * Float.BYTES, 64)
                            .copyFrom(MemorySegment.ofArray(floats(random, outputs * inputs))),
                    DType.F32,
                    outputs,
                    inputs);
            float[] a = floats(random, 300 * inputs);
            float[] expected = new float[300 * outputs];
            reference.matmul(a, 300, reference.pack(arena, matrix), expected);
            PackedMatrix packed = ops.pack(arena, matrix);
            for (int rows : new int[] {1, 2, 3, 4, 5, 31, 127, 128, 129, 300}) {
                float[] actual = new float[rows * outputs];
                ops.matmul(a, rows, packed, actual);
                assertThat(actual).as("%d rows", rows).containsExactly(Arrays.copyOf(expected, rows * outputs));
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"SCALAR, 1", "VECTOR, 1", "VECTOR, 3"})
    void everyHeadIsNormalisedByItselfAndValuesAreLeftAlone(OpsChoice choice, int threads) {
        AttentionShape shape = new AttentionShape(3, 1, 18, 1f);
        Random random = new Random(3);
        for (int rows : new int[] {1, 2, 16, 17, 33, 70}) {
            float[] before = floats(random, rows * shape.rowSize());
            float[] query = floats(random, shape.headDim());
            float[] key = floats(random, shape.headDim());
            float[] after = before.clone();
            try (CpuOps ops = CpuOps.create(choice, threads)) {
                ops.rmsNormHeads(after, shape, rows, query, key, 1e-6f);
            }
            for (int r = 0; r < rows; r++) {
                for (int h = 0; h < 5; h++) {
                    int from = r * shape.rowSize() + h * shape.headDim();
                    double squares = 0;
                    for (int d = 0; d < shape.headDim(); d++) {
                        squares += before[from + d] * before[from + d];
                    }
                    double root = Math.sqrt(squares / shape.headDim() + 1e-6);
                    for (int d = 0; d < shape.headDim(); d++) {
                        double weight = h < 3 ? query[d] : key[d];
                        double expected = h == 4 ? before[from + d] : before[from + d] / root * weight;
                        assertThat((double) after[from + d])
                                .as("row %d of %d, head %d, dimension %d", r, rows, h, d)
                                .isCloseTo(expected, org.assertj.core.data.Offset.offset(2e-6));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"SCALAR, 1", "VECTOR, 1", "VECTOR, 3"})
    void biasIsAddedToEveryRow(OpsChoice choice, int threads) {
        Random random = new Random(4);
        for (int columns : new int[] {1, 15, 16, 17, 100}) {
            float[] before = floats(random, 300 * columns);
            float[] bias = floats(random, columns);
            float[] after = before.clone();
            try (CpuOps ops = CpuOps.create(choice, threads)) {
                ops.addBias(after, 300, columns, bias);
            }
            for (int i = 0; i < after.length; i++) {
                assertThat(after[i]).as("element %d", i).isEqualTo(before[i] + bias[i % columns]);
            }
        }
    }

    @Test
    void bannerSaysWhatRunsAndWhy() {
        try (CpuOps scalar = CpuOps.create(OpsChoice.SCALAR, 1);
                CpuOps vector = CpuOps.create(OpsChoice.VECTOR, 2);
                CpuOps auto = CpuOps.create(OpsChoice.AUTO, 3)) {
            assertThat(scalar.backend()).isEqualTo("cpu, scalar (as asked), 1 thread");
            assertThat(vector.backend()).matches("cpu, Vector API (128|256|512) bit \\(as asked\\), 2 threads");
            try (Arena arena = Arena.ofShared();
                    CpuOps int8 = CpuOps.create(OpsChoice.SCALAR, 1, Quantization.INT8)) {
                Matrix matrix = new Matrix(arena.allocate(1 << 22, 4), DType.F32, 1 << 10, 1 << 10);
                scalar.pack(arena, matrix);
                int8.pack(arena, matrix);
                assertThat(scalar.backend()).endsWith("1 thread, weights 4.0 MiB");
                assertThat(int8.backend()).endsWith("1 thread, weights 1.0 MiB in int8");
            }
            assertThat(auto.backend())
                    .matches(
                            "cpu, (Vector API (256 bit \\(auto: 8|512 bit \\(auto: 16) f32 lanes\\)|scalar \\(.+\\)), 3 threads");
        }
    }

    @Test
    void withoutTheIncubatorModuleTheScalarLoopsRunAndTheBannerSaysWhatToAdd() throws Exception {
        assertThat(runWithoutModule("AUTO"))
                .isEqualTo("cpu, scalar (module jdk.incubator.vector is missing: start with --add-modules"
                        + " jdk.incubator.vector), 2 threads, 32.0");
        assertThat(runWithoutModule("VECTOR"))
                .isEqualTo("the Vector API was asked for, but the module jdk.incubator.vector is missing: start with"
                        + " --add-modules jdk.incubator.vector");
    }

    private static String runWithoutModule(String choice) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        WithoutModule.class.getName(),
                        choice)
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).as(output).isZero();
        return output.strip();
    }

    /// Started in a JVM of its own.
    static final class WithoutModule {
        private WithoutModule() {}

        public static void main(String[] args) {
            try (CpuOps ops = CpuOps.create(OpsChoice.valueOf(args[0]), 2);
                    Arena arena = Arena.ofShared()) {
                float[] ones = new float[64];
                Arrays.fill(ones, 1f);
                MemorySegment data = arena.allocate(64 * Float.BYTES, 4).copyFrom(MemorySegment.ofArray(ones));
                float[] out = new float[2];
                String backend = ops.backend();
                ops.matmul(ones, 1, ops.pack(arena, new Matrix(data, DType.F32, 2, 32)), out);
                System.out.println(backend + ", " + out[1]);
            } catch (TensorException e) {
                System.out.println(e.getMessage());
            }
        }
    }

    @Test
    void cacheOfAnotherGeometryIsRefused() {
        AttentionShape shape = new AttentionShape(4, 2, 16, 0.25f);
        SequenceRows sequences = new SequenceRows();
        try (CpuOps ops = CpuOps.create(OpsChoice.AUTO, 1);
                PagedKv otherHeads = new PagedKv(1, 1, 4, 16, 16, DType.F32)) {
            assertThatThrownBy(() -> ops.attention(NOTHING, shape, otherHeads, 0, sequences, NOTHING))
                    .isInstanceOf(TensorException.class)
                    .hasMessageContaining("has 4 heads of 16, the model needs 2 of 16");
        }
    }

    @Test
    void arraysThatAreTooSmallAreRefused() {
        try (CpuOps ops = CpuOps.create(OpsChoice.AUTO, 1)) {
            assertThatThrownBy(() -> ops.add(new float[7], new float[8], 2, 4))
                    .isInstanceOf(TensorException.class)
                    .hasMessageContaining("needs 8 floats, the array has 7");
        }
        assertThatThrownBy(() -> CpuOps.create(OpsChoice.AUTO, 0)).hasMessageContaining("at least 1, not 0");
    }

    private static float[] floats(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }
}
