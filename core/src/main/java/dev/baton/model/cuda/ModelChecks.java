package dev.baton.model.cuda;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.model.JsonFile;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.ModelLoader;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cpu.AttentionShape;
import dev.baton.tensor.cuda.CudaOps;
import dev.baton.tensor.cuda.check.CheckResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;

/// Whole models on a GPU against what Hugging Face transformers computed, and against the same model on the CPU.
///
/// Used from one thread.
public final class ModelChecks {
    /// bf16 against bf16 of another order of sums, and, over weights that are bf16, against f32: greatest
    /// difference over greatest logit.
    private static final double TOLERANCE = 3e-2;

    /// Against what was computed in f32 over weights in f32, which are rounded to bf16 here.
    private static final double ROUNDED_WEIGHTS_TOLERANCE = 7e-2;

    private static final int BLOCK_TOKENS = 16;
    private static final int MAX_SEQUENCES = 8;
    private static final int MAX_BATCHED_TOKENS = 512;

    private ModelChecks() {}

    /// Ranks that compute a checkpoint together, and how.
    ///
    /// @param devices of each, as in [CudaOptions]
    /// @param customAllReduce the same
    public record Ranks(List<Integer> devices, boolean customAllReduce) {
        int count() {
            return devices.size();
        }
    }

    private static CudaOptions options(int maxModelLen, Map<String, String> environment, Ranks ranks) {
        return new CudaOptions(
                ranks.devices,
                maxModelLen,
                MAX_SEQUENCES,
                MAX_BATCHED_TOKENS,
                BLOCK_TOKENS,
                environment,
                ranks.customAllReduce);
    }

    /// Compares logits of small checkpoints, each in a folder with `expected.json`: whole prompts, prompts in
    /// chunks, and a token a step, which is a graph.
    ///
    /// @param folder holds the checkpoints' folders
    /// @param ranks what computes a checkpoint together
    /// @param skipped is told in a line of each checkpoint that they cannot do
    public static List<CheckResult> fixtures(
            Path folder, Map<String, String> environment, Ranks ranks, Consumer<String> skipped) {
        List<CheckResult> results = new ArrayList<>();
        try (Stream<Path> folders = Files.list(folder)) {
            for (Path fixture : folders.filter(it -> Files.exists(it.resolve("expected.json")))
                    .sorted()
                    .toList()) {
                ModelConfig config = ModelLoader.config(fixture);
                try {
                    CudaModel.checkDivides(config, ranks.count());
                } catch (ModelException e) {
                    skipped.accept(fixture.getFileName() + ": " + e.getMessage());
                    continue;
                }
                if (CudaOps.supports(new AttentionShape(config.numHeads(), config.numKvHeads(), config.headDim(), 1))) {
                    results.addAll(fixture(fixture, environment, ranks));
                } else {
                    skipped.accept(fixture.getFileName() + ": the kernels cannot do " + config.numHeads() + "/"
                            + config.numKvHeads() + " heads of " + config.headDim());
                }
            }
        } catch (IOException e) {
            throw new ModelException("the fixtures in " + folder + " cannot be listed: " + e, e);
        }
        return results;
    }

    private static List<CheckResult> fixture(Path folder, Map<String, String> environment, Ranks ranks) {
        JsonNode expected = JsonFile.readObject(folder.resolve("expected.json"));
        int[] tokens = ints(expected.get("input_ids"));
        int[] positions = ints(expected.get("positions"));
        boolean isRounded = expected.path("logits_bf16").isEmpty();
        JsonNode rows = expected.get(isRounded ? "logits" : "logits_bf16");
        List<CheckResult> results = new ArrayList<>();
        int longest = ModelLoader.config(folder).maxPositionEmbeddings();
        try (CudaModel model =
                ModelLoader.loadCuda(folder, LoadOptions.defaults(), options(longest, environment, ranks))) {
            for (int chunk : new int[] {1, 7, 64, longest}) {
                double error = 0;
                for (int i = 0; i < positions.length; i++) {
                    float[] logits = logits(model, tokens, positions[i] + 1, chunk);
                    error = Math.max(error, CheckResult.relativeError(logits, floats(rows.get(i))));
                }
                results.add(new CheckResult(
                        folder.getFileName() + " against transformers, "
                                + (chunk == longest ? "whole" : "chunks of " + chunk)
                                + (ranks.count() == 1 ? "" : ", GPUs " + ranks.devices),
                        error,
                        isRounded ? ROUNDED_WEIGHTS_TOLERANCE : TOLERANCE));
            }
        }
        return results;
    }

    private static int[] ints(JsonNode node) {
        int[] values = new int[node.size()];
        Arrays.setAll(values, i -> node.get(i).intValue());
        return values;
    }

    private static float[] floats(JsonNode node) {
        float[] values = new float[node.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = node.get(i).floatValue();
        }
        return values;
    }

    /// Logits of the last of `length` tokens, computed in chunks.
    private static float[] logits(CudaModel model, int[] tokens, int length, int chunk) {
        int blocks = Math.ceilDiv(length, BLOCK_TOKENS);
        int[] table = new int[blocks];
        Arrays.setAll(table, i -> blocks - 1 - i);
        float[] logits = new float[model.config().vocabSize()];
        ForwardBatch batch = new ForwardBatch(MAX_BATCHED_TOKENS, 1);
        try (PagedKv kv = model.allocateKv(blocks, BLOCK_TOKENS, DType.BF16)) {
            model.recordGraphs(kv);
            for (int from = 0; from < length; from += chunk) {
                int count = Math.min(chunk, length - from);
                batch.clear();
                batch.add(tokens, from, count, table, true);
                model.forward(batch, kv, logits);
            }
        }
        return logits;
    }

    /// Lets the CPU follow greedy outputs of the GPU token by token: each must be the CPU's own likeliest one,
    /// or so near to it that rounding to bf16 decides.
    ///
    /// @param cpu the same model on the CPU
    /// @param prompt the prompt's tokens
    /// @param generated what the GPU went on with
    /// @return how far the worst token's logit is below the highest, in shares of the greatest logit
    public static double distanceFromGreedy(CausalLm cpu, int[] prompt, int[] generated) {
        int[] tokens = Arrays.copyOf(prompt, prompt.length + generated.length);
        System.arraycopy(generated, 0, tokens, prompt.length, generated.length);
        int blocks = Math.ceilDiv(tokens.length, BLOCK_TOKENS);
        int[] table = new int[blocks];
        Arrays.setAll(table, i -> i);
        int vocab = cpu.config().vocabSize();
        float[] logits = new float[generated.length * vocab];
        ForwardBatch batch = new ForwardBatch(tokens.length, 1);
        batch.add(tokens, 0, tokens.length - 1, table, generated.length);
        try (PagedKv kv = cpu.allocateKv(blocks, BLOCK_TOKENS, DType.F32)) {
            cpu.forward(batch, kv, logits);
        }
        double worst = 0;
        for (int i = 0; i < generated.length; i++) {
            double highest = Double.NEGATIVE_INFINITY;
            double greatest = 0;
            for (int token = 0; token < vocab; token++) {
                highest = Math.max(highest, logits[i * vocab + token]);
                greatest = Math.max(greatest, Math.abs(logits[i * vocab + token]));
            }
            worst = Math.max(worst, (highest - logits[i * vocab + generated[i]]) / greatest);
        }
        return worst;
    }

    /// Prompts of random tokens, of lengths around powers of two.
    public static List<int[]> prompts(int vocabSize, long seed) {
        Random random = new Random(seed);
        List<int[]> prompts = new ArrayList<>();
        for (int length : new int[] {1, 15, 16, 17, 63, 65, 127, 129, 255, 257, 511, 600}) {
            prompts.add(random.ints(length, 0, vocabSize).toArray());
        }
        return prompts;
    }

    /// What [#distanceFromGreedy] may be.
    public static double tolerance() {
        return TOLERANCE;
    }
}
