package dev.baton.model;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.time.Duration;

/// Runs a model on tokens of no meaning until the virtual machine has compiled it: before that, a vector
/// operation costs hundreds of times what it costs afterwards, and the first request would pay for it.
///
/// Uses a small KV cache of its own; the model is the same as before, except that its buffers have grown a little.
public final class WarmUp {
    private static final int PROMPT_TOKENS = 40;
    private static final int SEQUENCES = 2;
    private static final int BLOCK_TOKENS = 16;

    /// A round this much faster than the best one so far counts as progress.
    private static final double PROGRESS = 0.95;

    private static final int ROUNDS_WITHOUT_PROGRESS = 30;

    private WarmUp() {}

    /// Runs until a round takes no less time any more, or until the time is over. On the model's thread.
    ///
    /// @param kvDtype what the KV cache will be, so that the right loops are compiled
    /// @return how long it took
    public static Duration run(CausalLm model, DType kvDtype, Duration atMost) {
        ModelConfig config = model.config();
        int tokensPerSequence = Math.min(PROMPT_TOKENS, config.maxPositionEmbeddings() - 1);
        int blocks = Math.ceilDiv(tokensPerSequence + 1, BLOCK_TOKENS);
        ForwardBatch batch = new ForwardBatch(SEQUENCES * tokensPerSequence, SEQUENCES);
        float[] logits = new float[SEQUENCES * config.vocabSize()];
        int[] tokens = new int[tokensPerSequence + 1];
        int[][] tables = new int[SEQUENCES][blocks];
        for (int i = 0; i < SEQUENCES * blocks; i++) {
            tables[i / blocks][i % blocks] = i;
        }
        long start = System.nanoTime();
        long best = Long.MAX_VALUE;
        int withoutProgress = 0;
        try (PagedKv kv = new PagedKv(
                SEQUENCES * blocks, config.numLayers(), config.numKvHeads(), BLOCK_TOKENS, config.headDim(), kvDtype)) {
            while (withoutProgress < ROUNDS_WITHOUT_PROGRESS && System.nanoTime() - start < atMost.toNanos()) {
                long round = System.nanoTime();
                step(model, batch, kv, logits, tokens, 0, tokensPerSequence, tables, SEQUENCES);
                step(model, batch, kv, logits, tokens, tokensPerSequence, 1, tables, SEQUENCES);
                step(model, batch, kv, logits, tokens, tokensPerSequence, 1, tables, 1);
                long took = System.nanoTime() - round;
                withoutProgress = took < best * PROGRESS ? 0 : withoutProgress + 1;
                best = Math.min(best, took);
            }
        }
        return Duration.ofNanos(System.nanoTime() - start);
    }

    private static void step(
            CausalLm model,
            ForwardBatch batch,
            PagedKv kv,
            float[] logits,
            int[] tokens,
            int from,
            int count,
            int[][] tables,
            int sequences) {
        batch.clear();
        for (int s = 0; s < sequences; s++) {
            batch.add(tokens, from, count, tables[s], true);
        }
        model.forward(batch, kv, logits);
    }
}
