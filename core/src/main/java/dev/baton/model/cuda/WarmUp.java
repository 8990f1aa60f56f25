package dev.baton.model.cuda;

import dev.baton.model.DeviceSteps;
import dev.baton.model.ForwardBatch;
import dev.baton.model.TokenChoices;
import dev.baton.tensor.PagedKv;
import java.time.Duration;

/// Steps that nobody waits for, before the first one that somebody does: code is compiled and clocks rise.
final class WarmUp {
    /// Every token is the likeliest.
    static final TokenChoices LIKELIEST = new TokenChoices(0);

    private static final int PROMPT_TOKENS = 512;
    private static final int DECODES = 64;
    private static final Duration TIME = Duration.ofMillis(800);

    private WarmUp() {}

    /// Steps of both kinds for some time.
    static void run(DeviceSteps model, CudaOptions options, PagedKv kv) {
        int most = Math.max(options.maxNumBatchedTokens(), options.maxNumSeqs());
        ForwardBatch batch = new ForwardBatch(most, options.maxNumSeqs());
        int[] prompt = new int[Math.min(Math.min(PROMPT_TOKENS, options.maxModelLen()), most)];
        long start = System.nanoTime();
        while (System.nanoTime() - start < TIME.toNanos()) {
            step(model, options, batch, prompt, prompt.length, kv);
            for (int i = 0; i < DECODES; i++) {
                step(model, options, batch, prompt, 1, kv);
            }
        }
    }

    /// One step over the cache's first block again and again, whose contents nobody knows of yet.
    static void step(DeviceSteps model, CudaOptions options, ForwardBatch batch, int[] prompt, int count, PagedKv kv) {
        batch.clear();
        batch.add(prompt, 0, count, new int[options.maxBlocks()], true);
        model.launch(batch, kv, LIKELIEST);
        model.await();
    }
}
