package dev.baton.model.llama;

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
import java.util.Objects;
import java.util.Random;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A small checkpoint with the logits that Hugging Face transformers computes for it
/// (`scripts/fixtures/make_llama_fixture.py`).
record LlamaFixture(String name, Path directory, int[] inputIds, int[] positions, float[][] logits) {

    static final String[] NAMES = {"tied-bf16", "llama3-f32"};

    static LlamaFixture read(String name) {
        URL url = Objects.requireNonNull(LlamaFixture.class.getResource("/fixtures/llama/" + name + "/expected.json"));
        try {
            Path file = Path.of(url.toURI());
            JsonNode json = JsonMapper.shared().readTree(Files.readString(file));
            JsonNode rows = json.get("logits");
            float[][] logits = new float[rows.size()][];
            for (int i = 0; i < logits.length; i++) {
                logits[i] = new float[rows.get(i).size()];
                for (int j = 0; j < logits[i].length; j++) {
                    logits[i][j] = rows.get(i).get(j).floatValue();
                }
            }
            return new LlamaFixture(
                    name,
                    Objects.requireNonNull(file.getParent()),
                    ints(json.get("input_ids")),
                    ints(json.get("positions")),
                    logits);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
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
}
