package dev.baton.benchmarks;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.OpsChoice;
import dev.baton.tensor.cpu.RotaryTable;
import dev.baton.tensor.cpu.SequenceRows;
import java.util.concurrent.TimeUnit;
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

/// One layer's attention over the paged cache, in baton-tiny's shape (6 heads, 2 key heads of 64): the last `rows`
/// tokens of a sequence of `context` tokens.
///
/// `java -jar benchmarks/target/benchmarks.jar AttentionBenchmark -p rows=1 -p context=1536`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class AttentionBenchmark {
    private static final AttentionShape SHAPE = new AttentionShape(6, 2, 64, 0.125f);

    @Param({"1", "512"})
    public int rows = 1;

    @Param({"512", "1536"})
    public int context = 512;

    @Param({"16"})
    public int blockTokens = 16;

    @Param({"F32", "BF16", "F16"})
    public DType kvDtype = DType.F32;

    @Param({"1", "2"})
    public int threads = 1;

    @Param({"VECTOR"})
    public OpsChoice ops = OpsChoice.VECTOR;

    private final RotaryTable rotary = new RotaryTable(new float[SHAPE.headDim() / 2]);
    private final SequenceRows sequences = new SequenceRows();
    private CpuOps cpu = CpuOps.create(OpsChoice.SCALAR, 1);
    private PagedKv kv = new PagedKv(1, 1, 1, 1, 2, DType.F32);
    private float[] qkv = {}; // (context, heads + 2 kvHeads, headDim)
    private float[] out = {}; // (context, heads, headDim)

    @Setup(Level.Trial)
    public void setUp() {
        cpu.close();
        kv.close();
        int blocks = Math.ceilDiv(context, blockTokens);
        kv = new PagedKv(blocks, 1, SHAPE.kvHeads(), blockTokens, SHAPE.headDim(), kvDtype);
        int[] table = new int[blocks];
        for (int i = 0; i < blocks; i++) {
            table[i] = blocks - 1 - i;
        }
        qkv = Fixtures.floats(1, context * SHAPE.rowSize());
        out = new float[context * SHAPE.outSize()];
        sequences.clear();
        sequences.add(0, context, 0, table);
        float[] expected = new float[out.length];
        try (CpuOps reference = CpuOps.create(OpsChoice.SCALAR, 1)) {
            reference.rotateAndStore(qkv, SHAPE, rotary, kv, 0, sequences);
            reference.attention(qkv, SHAPE, kv, 0, sequences, expected);
        }
        sequences.clear();
        sequences.add(context - rows, rows, context - rows, table);
        cpu = CpuOps.create(ops, threads);
        cpu.attention(qkv, SHAPE, kv, 0, sequences, out);
        int from = (context - rows) * SHAPE.outSize();
        Fixtures.gate(
                "attention",
                java.util.Arrays.copyOfRange(out, from, out.length),
                java.util.Arrays.copyOfRange(expected, from, out.length),
                0f);
    }

    @Benchmark
    public float[] attention() {
        cpu.attention(qkv, SHAPE, kv, 0, sequences, out);
        return out;
    }

    @TearDown(Level.Trial)
    public void tearDown() {
        cpu.close();
        kv.close();
    }
}
