package dev.baton.benchmarks;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.LoadOptions;
import dev.baton.model.LoadOptions.LoadFormat;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.Quantization;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Measures a whole model in one process, without sampling and serving, by the tests of `llama-bench`:
///
/// | Test | Measures |
/// |---|---|
/// | `pp512` | a prompt of 512 tokens in one step |
/// | `tg128` | 128 steps of one token, from an empty context on |
/// | `tg32x16` | 32 steps of one token in each of 16 sequences |
/// | `tg32x16@512` | the same after 512 tokens |
///
/// Each line says tokens a second, and what the weights' part of it is: GFLOP/s of a prompt, GB/s of weights
/// read by steps. A test is warmed up (steps: by eight of them) until two rounds in a row are within 3 % of the best,
/// so that nothing is still
/// being compiled, then for `--rounds` rounds. With `--wait` tests come line by line from standard input
/// instead, each is run once: so another program can take turns with this one.
///
/// `java -cp benchmarks.jar dev.baton.benchmarks.ModelBenchmark --model FOLDER [--load-format dummy] [--threads N]
/// [--quantization int8] [--kv-cache-dtype bfloat16] [--rounds N] [--wait] TEST...`
public final class ModelBenchmark implements AutoCloseable {
    private static final Pattern TEST = Pattern.compile("(pp|tg)(\\d+)(?:x(\\d+))?(?:@(\\d+))?");
    private static final int BLOCK_TOKENS = 16;
    /// A small number in each of the types.
    private static final byte CONTEXT_BYTE = 0x2c;

    private static final int WARM_UPS = 12;
    private static final int WARM_UP_STEPS = 8;
    private static final double SETTLED = 1.03;

    /// @param steps tokens of a prompt, or steps of one token
    private record Test(boolean prompt, int steps, int sequences, int context) {
        static Test parse(String text) {
            Matcher matcher = TEST.matcher(text);
            if (!matcher.matches()) {
                throw new IllegalArgumentException("no test: " + text + "; tests look like pp512 or tg128x16@512");
            }
            return new Test(
                    matcher.group(1).equals("pp"),
                    Integer.parseInt(matcher.group(2)),
                    matcher.group(3) == null ? 1 : Integer.parseInt(matcher.group(3)),
                    matcher.group(4) == null ? 0 : Integer.parseInt(matcher.group(4)));
        }

        int tokens() {
            return steps * sequences;
        }
    }

    private final CausalLm model;
    private final ModelConfig config;
    private final DType kvDtype;
    private final double weightBytes;

    private ModelBenchmark(CausalLm model, DType kvDtype, Quantization quantization) {
        this.model = model;
        this.config = model.config();
        this.kvDtype = kvDtype;
        int bytes = quantization == Quantization.INT8
                ? Byte.BYTES
                : config.weightsDType() == DType.BF16 ? Short.BYTES : Float.BYTES;
        this.weightBytes = (layerWeights() + headWeights()) * bytes;
    }

    /// Weights that every token is multiplied with.
    private double layerWeights() {
        double attention = (2.0 * config.numHeads() + 2.0 * config.numKvHeads()) * config.headDim();
        return config.numLayers() * config.hiddenSize() * (attention + 3.0 * config.intermediateSize());
    }

    /// Weights that tokens whose logits are wanted are multiplied with.
    private double headWeights() {
        return (double) config.vocabSize() * config.hiddenSize();
    }

    /// Runs a test once and returns its tokens a second.
    private double run(Test test) {
        int length = test.context + test.steps;
        int[] ids = new int[length];
        for (int i = 0; i < length; i++) {
            ids[i] = (int) (i * 7919L % config.vocabSize());
        }
        int blocks = Math.ceilDiv(length, BLOCK_TOKENS);
        int[][] tables = new int[test.sequences][blocks];
        for (int i = 0; i < test.sequences * blocks; i++) {
            tables[i / blocks][i % blocks] = i;
        }
        ForwardBatch batch = new ForwardBatch(test.tokens(), test.sequences);
        float[] logits = new float[test.sequences * config.vocabSize()];
        try (PagedKv kv = new PagedKv(
                test.sequences * blocks,
                config.numLayers(),
                config.numKvHeads(),
                BLOCK_TOKENS,
                config.headDim(),
                kvDtype)) {
            // What is in the context does not matter for its speed.
            kv.segment().fill(CONTEXT_BYTE);
            long start = System.nanoTime();
            if (test.prompt) {
                step(batch, ids, test.context, test.steps, tables, kv, logits);
            } else {
                for (int i = 0; i < test.steps; i++) {
                    step(batch, ids, test.context + i, 1, tables, kv, logits);
                }
            }
            double seconds = (System.nanoTime() - start) / 1e9;
            if (!Float.isFinite(logits[0]) || logits[0] == 0f) {
                throw new IllegalStateException("the first logit is " + logits[0] + ", not timing that");
            }
            return test.tokens() / seconds;
        }
    }

    private void step(ForwardBatch batch, int[] ids, int from, int count, int[][] tables, PagedKv kv, float[] logits) {
        batch.clear();
        for (int[] table : tables) {
            batch.add(ids, from, count, table, true);
        }
        model.forward(batch, kv, logits);
    }

    private String describe(String name, Test test, double tokensPerSecond) {
        double seconds = test.tokens() / tokensPerSecond;
        String weights = test.prompt
                ? "%.1f GFLOP/s"
                        .formatted(2e-9 * (layerWeights() * test.tokens() + headWeights() * test.sequences) / seconds)
                : "%.1f GB/s".formatted(1e-9 * weightBytes * test.steps / seconds);
        return String.format(Locale.ROOT, "%s %.2f tokens/s, %s", name, tokensPerSecond, weights);
    }

    private void warmUp(Test measured) {
        // The same code as the whole test: a prompt at its length, the same steps but fewer of them.
        Test test = measured.prompt
                ? measured
                : new Test(false, Math.min(WARM_UP_STEPS, measured.steps), measured.sequences, measured.context);
        double best = 0;
        int settled = 0;
        for (int i = 0; i < WARM_UPS && settled < 2; i++) {
            double rate = run(test);
            settled = rate * SETTLED > best && best * SETTLED > rate ? settled + 1 : 0;
            best = Math.max(best, rate);
        }
    }

    @Override
    public void close() {
        model.close();
    }

    public static void main(String[] arguments) throws IOException {
        LoadOptions options = LoadOptions.defaults();
        DType kvDtype = DType.F32;
        Optional<Path> folder = Optional.empty();
        int rounds = 5;
        boolean wait = false;
        List<String> tests = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--model" -> folder = Optional.of(Path.of(arguments[++i]));
                case "--threads" -> options = options.withCpuThreads(Integer.parseInt(arguments[++i]));
                case "--rounds" -> rounds = Integer.parseInt(arguments[++i]);
                case "--wait" -> wait = true;
                case "--kv-cache-dtype" ->
                    kvDtype = DType.ofTorchName(arguments[++i]).orElseThrow();
                case "--quantization" ->
                    options = options.withQuantization(
                            Quantization.ofFlag(arguments[++i]).orElseThrow());
                case "--load-format" ->
                    options = options.withFormat(arguments[++i].equals("dummy") ? LoadFormat.DUMMY : LoadFormat.AUTO);
                default -> tests.add(arguments[i]);
            }
        }
        Path model = folder.orElseThrow(() -> new IllegalArgumentException("--model FOLDER is needed"));
        try (ModelBenchmark benchmark =
                new ModelBenchmark(ModelLoader.load(model, options), kvDtype, options.quantization())) {
            System.out.println(benchmark.model.backend() + ", KV cache " + kvDtype.torchName());
            for (String name : tests) {
                Test test = Test.parse(name);
                benchmark.warmUp(test);
                for (int i = 0; i < rounds && !wait; i++) {
                    System.out.println(benchmark.describe(name, test, benchmark.run(test)));
                }
            }
            if (wait) {
                benchmark.runAsAsked();
            }
        }
    }

    private void runAsAsked() throws IOException {
        System.out.println("ready");
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String name = asked.readLine(); name != null; name = asked.readLine()) {
            Test test = Test.parse(name);
            System.out.println(describe(name, test, run(test)));
        }
    }
}
