package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.model.DeviceSteps;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// An engine over a model that leaves its logits where it computes.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class DeviceStepsTest {
    private static final int NEW_TOKENS = 20;

    /// Computes in memory that the engine does not see, and counts what is copied out of it.
    private static final class RemoteLm extends MemoryLm implements DeviceSteps {
        final AtomicInteger copies = new AtomicInteger();
        final AtomicInteger preparations = new AtomicInteger();
        private float[] remote = {};

        RemoteLm() {
            super(0);
        }

        @Override
        public Optional<DeviceSteps> deviceSteps() {
            return Optional.of(this);
        }

        @Override
        public void prepare(PagedKv kv) {
            preparations.incrementAndGet();
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv) {
            remote = new float[batch.numLogits() * VOCAB];
            super.forward(batch, kv, remote);
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
            throw new AssertionError("all rows were asked for");
        }

        @Override
        public int likeliest(int row) {
            int best = 0;
            for (int i = 1; i < VOCAB; i++) {
                if (!Float.isFinite(remote[row * VOCAB + i])) {
                    return NOT_FINITE;
                }
                best = remote[row * VOCAB + i] > remote[row * VOCAB + best] ? i : best;
            }
            return best;
        }

        @Override
        public void copyRow(int row, float[] logits, int offset) {
            copies.incrementAndGet();
            System.arraycopy(remote, row * VOCAB, logits, offset, VOCAB);
        }
    }

    private static List<List<Integer>> outputs(MemoryLm model, SamplingParams sampling) throws InterruptedException {
        EngineConfig config = EngineConfig.builder("m", 512)
                .numBlocks(200)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(32)
                .build();
        Random random = new Random(5);
        List<List<Integer>> outputs = new ArrayList<>();
        try (Engine engine = Engine.start(config, model)) {
            List<Generation> running = new ArrayList<>();
            for (int length : new int[] {1, 7, 31, 33, 64, 100}) {
                running.add(
                        engine.generate(random.ints(length, 0, MemoryLm.VOCAB).toArray(), sampling));
            }
            for (Generation generation : running) {
                List<Integer> tokens = new ArrayList<>();
                generation.forEachToken(tokens::add);
                outputs.add(tokens);
            }
        }
        return outputs;
    }

    private static SamplingParams.Builder sampling() {
        return SamplingParams.builder(NEW_TOKENS).ignoreEos(true).temperature(0);
    }

    @Test
    void greedyDecodingCopiesNoRowOfLogits() throws InterruptedException {
        RemoteLm model = new RemoteLm();
        assertThat(outputs(model, sampling().build()))
                .isEqualTo(outputs(new MemoryLm(0), sampling().build()))
                .allMatch(tokens -> tokens.size() == NEW_TOKENS);
        assertThat(model.copies).hasValue(0);
        assertThat(model.preparations).hasValue(1);
    }

    @Test
    void requestThatNeedsLogitsGetsItsRowsAndTheSameTokens() throws InterruptedException {
        List<SamplingParams> needs = List.of(
                sampling().temperature(1).seed(OptionalLong.of(3)).build(),
                sampling().logprobs(OptionalInt.of(2)).build(),
                sampling().promptLogprobs(OptionalInt.of(1)).build(),
                sampling().logitBias(Map.of(5, 3f)).build(),
                sampling().repetitionPenalty(1.3f).build(),
                sampling().presencePenalty(0.5f).build(),
                sampling().allowedTokenIds(List.of(1, 2, 3, 4)).build(),
                sampling().badWords(List.of(List.of(9))).build(),
                sampling().minTokens(NEW_TOKENS).stopTokenIds(List.of(3)).build());
        for (SamplingParams params : needs) {
            RemoteLm model = new RemoteLm();
            assertThat(outputs(model, params)).isEqualTo(outputs(new MemoryLm(0), params));
            assertThat(model.copies.get()).as(params.toString()).isPositive();
        }
    }
}
