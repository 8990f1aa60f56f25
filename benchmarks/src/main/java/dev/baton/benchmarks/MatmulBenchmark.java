package dev.baton.benchmarks;

import dev.baton.tensor.DType;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.Matrix;
import dev.baton.tensor.cpu.OpsChoice;
import dev.baton.tensor.cpu.PackedMatrix;
import java.lang.foreign.Arena;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// The product of rows and a packed weight matrix: few rows as in decode, many as in prefill.
///
/// `java -jar benchmarks/target/benchmarks.jar MatmulBenchmark -p rows=1,64 -p threads=1,2`
@State(Scope.Thread)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class MatmulBenchmark {
    @Param({"1", "4", "64", "512"})
    public int rows = 1;

    /// Inputs x outputs.
    @Param({"384x2048", "2048x2048", "896x9728"})
    public String shape = "384x2048";

    @Param({"BF16", "F32"})
    public DType dtype = DType.BF16;

    @Param({"1", "2"})
    public int threads = 1;

    @Param({"VECTOR"})
    public OpsChoice ops = OpsChoice.VECTOR;

    private final Arena arena = Arena.ofShared();
    private CpuOps cpu = CpuOps.create(OpsChoice.SCALAR, 1);
    private PackedMatrix[] weights = {};
    private float[] in = {}; // (rows, inputs)
    private float[] out = {}; // (rows, outputs)
    private int next;

    /// What the rate is derived from.
    @AuxCounters
    @State(Scope.Thread)
    public static class Flops {
        public double gflop;
    }

    @Setup(Level.Trial)
    public void setUp() {
        int inputs = Integer.parseInt(shape.split("x", 2)[0]);
        int outputs = Integer.parseInt(shape.split("x", 2)[1]);
        cpu.close();
        cpu = CpuOps.create(ops, threads);
        in = Fixtures.floats(1, rows * inputs);
        out = new float[rows * outputs];
        // As many matrices as a small model has, so that one row does not find its weights in the cache.
        weights = new PackedMatrix[rows == 1 ? 16 : 1];
        for (int i = 0; i < weights.length; i++) {
            weights[i] = cpu.pack(arena, Fixtures.matrix(arena, dtype, 2 + i, outputs, inputs));
        }
        Matrix matrix = Fixtures.matrix(arena, dtype, 2, outputs, inputs);
        cpu.matmul(in, rows, weights[0], out);
        float[] expected = new float[out.length];
        for (int i = 0; i < expected.length; i++) {
            double sum = 0;
            for (int k = 0; k < inputs; k++) {
                sum += (double) in[i / outputs * inputs + k] * matrix.get(i % outputs, k);
            }
            expected[i] = (float) sum;
        }
        Fixtures.gate("the product", out, expected, 1e-4f * inputs);
    }

    @Benchmark
    public float[] product(Flops flops) {
        PackedMatrix w = weights[next];
        next = (next + 1) % weights.length;
        cpu.matmul(in, rows, w, out);
        flops.gflop += 2e-9 * rows * w.inputs() * w.outputs();
        return out;
    }

    @TearDown(Level.Trial)
    public void tearDown() {
        cpu.close();
        arena.close();
    }
}
