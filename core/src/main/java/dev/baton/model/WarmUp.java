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

    /// Runs until a round takes no less time any more, or until the time is over. On the model's thread.
    ///
    /// The time is looked at between two steps, as a step cannot be stopped; the first ones are the smallest, since
    /// uncompiled code takes longest for each token. So it is exceeded by one step at most.
    ///
    /// @param kvDtype what the KV cache will be, so that the right loops are compiled
    /// @return how long it took
    public static Duration run(CausalLm model, DType kvDtype, Duration atMost) {
        ModelConfig config = model.config();
        int tokensPerSequence = Math.min(PROMPT_TOKENS, config.maxPositionEmbeddings() - 1);
        int blocks = Math.ceilDiv(tokensPerSequence + 1, BLOCK_TOKENS);
        try (PagedKv kv = model.allocateKv(SEQUENCES * blocks, BLOCK_TOKENS, kvDtype)) {
            WarmUp warmUp = new WarmUp(model, kv, tokensPerSequence, blocks, atMost);
            warmUp.growingSteps();
            warmUp.rounds();
            return Duration.ofNanos(System.nanoTime() - warmUp.start);
        }
    }

    private final CausalLm model;
    private final PagedKv kv;
    private final int tokensPerSequence;
    private final ForwardBatch batch;
    private final float[] logits; // (SEQUENCES, vocabSize)
    private final int[] tokens; // (tokensPerSequence + 1)
    private final int[][] tables; // (SEQUENCES, blocks)
    private final long limitNanos;
    private final long start = System.nanoTime();

    private WarmUp(CausalLm model, PagedKv kv, int tokensPerSequence, int blocks, Duration atMost) {
        this.model = model;
        this.kv = kv;
        this.tokensPerSequence = tokensPerSequence;
        this.batch = new ForwardBatch(SEQUENCES * tokensPerSequence, SEQUENCES);
        this.logits = new float[SEQUENCES * model.config().vocabSize()];
        this.tokens = new int[tokensPerSequence + 1];
        this.tables = new int[SEQUENCES][blocks];
        for (int i = 0; i < SEQUENCES * blocks; i++) {
            tables[i / blocks][i % blocks] = i;
        }
        this.limitNanos = atMost.toNanos();
    }

    private void growingSteps() {
        for (int count = 1; count < tokensPerSequence; count *= 2) {
            step(0, count, 1);
        }
    }

    private void rounds() {
        long best = Long.MAX_VALUE;
        int withoutProgress = 0;
        while (withoutProgress < ROUNDS_WITHOUT_PROGRESS && !isOver()) {
            long round = System.nanoTime();
            step(0, tokensPerSequence, SEQUENCES);
            step(tokensPerSequence, 1, SEQUENCES);
            step(tokensPerSequence, 1, 1);
            long took = System.nanoTime() - round;
            withoutProgress = took < best * PROGRESS ? 0 : withoutProgress + 1;
            best = Math.min(best, took);
        }
    }

    private boolean isOver() {
        return System.nanoTime() - start >= limitNanos;
    }

    /// Does nothing once the time is over.
    private void step(int from, int count, int sequences) {
        if (isOver()) {
            return;
        }
        batch.clear();
        for (int s = 0; s < sequences; s++) {
            batch.add(tokens, from, count, tables[s], true);
        }
        model.forward(batch, kv, logits);
    }
}
