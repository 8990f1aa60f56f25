package dev.baton.benchmarks;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.RopeScaling;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// A step of the engine without its model: scheduling, sampling from a vocabulary of 1,024, outputs. The model
/// writes the same logits every time.
///
/// `java -jar benchmarks/target/benchmarks.jar EngineStepBenchmark -p sequences=64 -prof gc`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class EngineStepBenchmark {
    private static final int VOCAB = 1_024;
    private static final int STEPS = 512;

    /// Sequences that decode together.
    @Param({"1", "16", "64"})
    public int sequences = 1;

    @Param({"0", "0.8"})
    public float temperature;

    private Engine engine = start();
    private long serial;

    private static Engine start() {
        EngineConfig config = EngineConfig.builder("flat", 2_048)
                .blockTokens(16)
                .numBlocks(8_192)
                .maxNumSeqs(64)
                .maxNumBatchedTokens(512)
                .build();
        return Engine.start(config, new FlatLm());
    }

    @Setup(Level.Trial)
    public void setUp() throws InterruptedException {
        if (decode() != (long) sequences * STEPS) {
            throw new IllegalStateException("tokens are missing: not timing it");
        }
    }

    @Benchmark
    @OperationsPerInvocation(STEPS)
    public long step() throws InterruptedException {
        return decode();
    }

    /// All sequences from their first to their last token.
    ///
    /// @return tokens that came out
    private long decode() throws InterruptedException {
        CountDownLatch done = new CountDownLatch(sequences);
        long[] tokens = new long[1]; // written by the engine's thread alone, read when it has counted down
        SamplingParams sampling = SamplingParams.builder(STEPS)
                .temperature(temperature)
                .ignoreEos(true)
                .build();
        for (int i = 0; i < sequences; i++) {
            String id = "r" + serial++;
            engine.submit(new EngineRequest(id, new int[] {i, 1}, sampling), output -> {
                tokens[0] += output.tokenIds().length;
                if (output.finish().isPresent()) {
                    done.countDown();
                }
            });
        }
        done.await();
        return tokens[0];
    }

    @TearDown(Level.Trial)
    public void tearDown() {
        engine.close();
    }

    /// A model that only has logits.
    private static final class FlatLm implements CausalLm {
        private final float[] row = Fixtures.floats(1, VOCAB);
        private final ModelConfig config = new ModelConfig(
                "FlatLm",
                VOCAB,
                4,
                4,
                1,
                1,
                1,
                2,
                2_048,
                1e-5f,
                1e4,
                new RopeScaling.None(),
                true,
                DType.F32,
                List.of());

        @Override
        public ModelConfig config() {
            return config;
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
            for (int i = 0; i < batch.numLogits(); i++) {
                System.arraycopy(row, 0, logits, i * VOCAB, VOCAB);
            }
        }

        @Override
        public Map<String, String> fingerprint() {
            return Map.of();
        }

        @Override
        public String backend() {
            return "none";
        }

        @Override
        public void close() {}
    }
}
