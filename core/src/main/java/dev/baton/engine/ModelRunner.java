package dev.baton.engine;

import dev.baton.model.CausalLm;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.util.List;

/// Carries out a step: fills the batch, runs the model, samples. Engine thread only.
final class ModelRunner {
    private final CausalLm model;
    private final PagedKv kv;
    private final ForwardBatch batch;
    private final Sampler sampler;
    private final int vocabSize;
    private float[] logits; // (rows that want logits, vocabSize), grown on demand

    ModelRunner(EngineConfig config, CausalLm model, PagedKv kv) {
        this.model = model;
        this.kv = kv;
        this.batch = new ForwardBatch(config.maxNumBatchedTokens(), config.maxNumSeqs());
        this.vocabSize = model.config().vocabSize();
        this.sampler = new Sampler(vocabSize);
        this.logits = new float[vocabSize];
    }

    /// Computes what was scheduled and samples a token for each request that it brought up to date.
    void run(SchedulerOutput scheduled, StepOutput output) {
        batch.clear();
        for (int i = 0; i < scheduled.numRequests(); i++) {
            Request request = scheduled.request(i);
            batch.add(
                    request.tokens(),
                    request.numComputedTokens,
                    scheduled.numScheduledTokens(i),
                    request.blocks.ids(),
                    scheduled.samples(i));
        }
        int numLogits = Math.multiplyExact(batch.numLogits(), vocabSize);
        if (numLogits > logits.length) {
            logits = new float[Math.max(numLogits, Math.multiplyExact(logits.length, 2))];
        }
        model.forward(batch, kv, logits);
        int row = 0;
        for (int i = 0; i < scheduled.numRequests(); i++) {
            if (scheduled.samples(i)) {
                sample(scheduled.request(i), row * vocabSize, i, output);
                row++;
            } else {
                output.set(i, StepOutput.NO_TOKEN, List.of());
            }
        }
    }

    private void sample(Request request, int offset, int i, StepOutput output) {
        int token = sampler.sample(logits, offset, request);
        if (token >= 0 && request.sampling.logprobs().isPresent()) {
            int count = request.sampling.logprobs().getAsInt();
            output.set(i, token, List.of(sampler.logprobs(logits, offset, token, count)));
        } else {
            output.set(i, token, List.of());
        }
    }
}
