package dev.baton.model.decoder;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A small checkpoint with what Hugging Face transformers computes for it
/// (`scripts/fixtures/make_model_fixtures.py`).
///
/// @param greedy the tokens that greedy sampling appends to `inputIds`
/// @param logits in f32, at `positions`
/// @param bf16Logits the same computed in bfloat16; empty unless the weights are
record ModelFixture(
        String name,
        Path directory,
        int[] inputIds,
        int[] greedy,
        int[] positions,
        float[][] logits,
        float[][] bf16Logits) {

    /// All of them: a family, what is particular, the type of the weights.
    static final List<String> NAMES = List.of(
            "llama-f32",
            "llama-bf16",
            "llama-bias-f16",
            "qwen2-f32",
            "qwen2-bf16",
            "qwen3-f32",
            "qwen3-bf16",
            "mistral-f32",
            "mistral-bf16");

    static ModelFixture read(String name) {
        URL url = Objects.requireNonNull(ModelFixture.class.getResource("/fixtures/model/" + name + "/expected.json"));
        try {
            Path file = Path.of(url.toURI());
            JsonNode json = JsonMapper.shared().readTree(Files.readString(file));
            return new ModelFixture(
                    name,
                    Objects.requireNonNull(file.getParent()),
                    ints(json.get("input_ids")),
                    ints(json.get("greedy")),
                    ints(json.get("positions")),
                    rows(json.path("logits")),
                    rows(json.path("logits_bf16")));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static float[][] rows(JsonNode rows) {
        float[][] values = new float[rows.size()][];
        for (int i = 0; i < values.length; i++) {
            values[i] = new float[rows.get(i).size()];
            for (int j = 0; j < values[i].length; j++) {
                values[i][j] = rows.get(i).get(j).floatValue();
            }
        }
        return values;
    }

    private static int[] ints(JsonNode node) {
        int[] values = new int[node.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = node.get(i).intValue();
        }
        return values;
    }

    /// A cache of this model's geometry, filled with NaN so that anything read before it is written shows.
    static PagedKv cache(CausalLm model, int blocks, int blockTokens) {
        return cache(model, blocks, blockTokens, DType.F32);
    }

    static PagedKv cache(CausalLm model, int blocks, int blockTokens, DType dtype) {
        PagedKv kv = new PagedKv(
                blocks,
                model.config().numLayers(),
                model.config().numKvHeads(),
                blockTokens,
                model.config().headDim(),
                dtype);
        kv.segment().fill((byte) 0xff);
        return kv;
    }

    /// Blocks in no particular order, as a pool in use gives them.
    static int[] shuffledBlocks(int count, long seed) {
        int[] blocks = new int[count];
        Arrays.setAll(blocks, i -> i);
        Random random = new Random(seed);
        for (int i = count - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            int swap = blocks[i];
            blocks[i] = blocks[j];
            blocks[j] = swap;
        }
        return blocks;
    }

    /// Logits of the last of `length` tokens, computed in chunks of `chunk` tokens.
    static float[] lastLogits(CausalLm model, int[] tokens, int length, int chunk, int blockTokens) {
        return lastLogits(model, tokens, length, chunk, blockTokens, DType.F32);
    }

    static float[] lastLogits(CausalLm model, int[] tokens, int length, int chunk, int blockTokens, DType kvDtype) {
        int blocks = Math.ceilDiv(length, blockTokens);
        ForwardBatch batch = new ForwardBatch(Math.min(chunk, length), 1);
        float[] logits = new float[model.config().vocabSize()];
        try (PagedKv kv = cache(model, blocks, blockTokens, kvDtype)) {
            int[] table = shuffledBlocks(blocks, length);
            for (int from = 0; from < length; from += chunk) {
                int count = Math.min(chunk, length - from);
                batch.clear();
                batch.add(tokens, from, count, table, from + count == length);
                model.forward(batch, kv, logits);
            }
        }
        return logits;
    }

    /// What greedy sampling appends to a prompt: prefill in chunks of `chunk` tokens, then a token a step.
    static int[] greedy(CausalLm model, int[] prompt, int count, int chunk, int blockTokens) {
        int[] tokens = Arrays.copyOf(prompt, prompt.length + count);
        int blocks = Math.ceilDiv(tokens.length, blockTokens);
        ForwardBatch batch = new ForwardBatch(Math.max(1, Math.min(chunk, prompt.length)), 1);
        float[] logits = new float[model.config().vocabSize()];
        try (PagedKv kv = cache(model, blocks, blockTokens)) {
            int[] table = shuffledBlocks(blocks, count);
            for (int from = 0; from < tokens.length - 1; ) {
                int rows = from < prompt.length ? Math.min(chunk, prompt.length - from) : 1;
                batch.clear();
                batch.add(tokens, from, rows, table, true);
                model.forward(batch, kv, logits);
                from += rows;
                if (from >= prompt.length) {
                    tokens[from] = argmax(logits);
                }
            }
        }
        return Arrays.copyOfRange(tokens, prompt.length, tokens.length);
    }

    private static int argmax(float[] logits) {
        int best = 0;
        for (int i = 1; i < logits.length; i++) {
            best = logits[i] > logits[best] ? i : best;
        }
        return best;
    }
}
