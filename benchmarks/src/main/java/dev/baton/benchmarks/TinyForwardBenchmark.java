package dev.baton.benchmarks;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.LoadOptions;
import dev.baton.model.LoadOptions.LoadFormat;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.OpsChoice;
import java.nio.file.Path;
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

/// One whole step of a model of baton-tiny's shape with weights drawn from a seed: `sequences` sequences, each with
/// `tokens` new tokens after `context` tokens.
///
/// `java -jar benchmarks/target/benchmarks.jar TinyForwardBenchmark -p step=512+0,1+128 -prof gc`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class TinyForwardBenchmark {
    private static final int BLOCK_TOKENS = 16;

    /// New tokens + tokens before them.
    @Param({"512+0", "512+1024", "1+128", "1+1500"})
    public String step = "1+128";

    @Param({"1", "8"})
    public int sequences = 1;

    @Param({"1", "2"})
    public int threads = 1;

    private CausalLm model = load(1, OpsChoice.SCALAR);
    private PagedKv kv = new PagedKv(1, 1, 1, 1, 2, DType.F32);
    private ForwardBatch batch = new ForwardBatch(1, 1);
    private float[] logits = {}; // (sequences, vocab)

    private static CausalLm load(int threads, OpsChoice ops) {
        Path directory = Fixtures.tinyConfig();
        return ModelLoader.load(
                directory,
                LoadOptions.defaults()
                        .withFormat(LoadFormat.DUMMY)
                        .withCpuThreads(threads)
                        .withOps(ops));
    }

    @Setup(Level.Trial)
    public void setUp() {
        int tokens = Integer.parseInt(step.split("\\+", 2)[0]);
        int context = Integer.parseInt(step.split("\\+", 2)[1]);
        ModelConfig config = model.config();
        int blocks = Math.ceilDiv(context + tokens, BLOCK_TOKENS);
        kv.close();
        kv = new PagedKv(
                sequences * blocks, config.numLayers(), config.numKvHeads(), BLOCK_TOKENS, config.headDim(), DType.F32);
        logits = new float[sequences * config.vocabSize()];
        float[] expected = new float[logits.length];
        // The gate: the whole prompt at once with scalar loops gives the same bits as the step that is timed.
        run(tokens + context, 0, blocks);
        model.forward(batch, kv, expected);
        model.close();
        model = load(threads, OpsChoice.AUTO);
        run(tokens, context, blocks);
        model.forward(batch, kv, logits);
        Fixtures.gate("the step", logits, expected, 0f);
    }

    private void run(int tokens, int context, int blocks) {
        batch = new ForwardBatch(sequences * tokens, sequences);
        int[] ids = new int[context + tokens];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = i * 7919 % model.config().vocabSize();
        }
        for (int s = 0; s < sequences; s++) {
            int[] table = new int[blocks];
            for (int i = 0; i < blocks; i++) {
                table[i] = s * blocks + i;
            }
            batch.add(ids, context, tokens, table, true);
        }
    }

    @Benchmark
    public float[] step() {
        model.forward(batch, kv, logits);
        return logits;
    }

    @TearDown(Level.Trial)
    public void tearDown() {
        model.close();
        kv.close();
    }
}
