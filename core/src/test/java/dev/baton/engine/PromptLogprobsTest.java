package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.RequestOutput.Finish;
import dev.baton.engine.RequestOutput.TokenLogprobs;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvTransferParams;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Log-probabilities of a prompt's tokens: those of the model's logits, whatever the prompt went through.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class PromptLogprobsTest {
    private final MemoryLm model = new MemoryLm(0);

    private static EngineConfig.Builder config() {
        return EngineConfig.builder("memory", 64)
                .blockTokens(4)
                .numBlocks(64)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16);
    }

    private static int[] prompt(int length) {
        return EngineScenarioTest.prompt(new Random(length), length, length);
    }

    private static Collected submit(Engine engine, String id, int[] prompt, int maxTokens, int count) {
        Collected answer = new Collected();
        engine.submit(new EngineRequest(id, prompt, sampling(maxTokens, count)), answer);
        return answer;
    }

    private static SamplingParams sampling(int maxTokens, int count) {
        return SamplingParams.builder(maxTokens)
                .temperature(0)
                .promptLogprobs(OptionalInt.of(count))
                .build();
    }

    /// Compares with the softmax of the model's logits.
    private void verify(Collected answer, int[] prompt, int count) {
        List<TokenLogprobs> all = answer.promptLogprobs();
        assertThat(answer.late()).isEmpty();
        assertThat(all).hasSize(prompt.length - 1);
        float[][] logits = model.logits(prompt);
        for (int i = 1; i < prompt.length; i++) {
            double sum = 0;
            int rank = 1;
            for (int token = 0; token < MemoryLm.VOCAB; token++) {
                sum += Math.exp(logits[i - 1][token]);
                rank += logits[i - 1][token] > logits[i - 1][prompt[i]] ? 1 : 0;
            }
            TokenLogprobs one = all.get(i - 1);
            assertThat((double) one.logprob())
                    .as("token %d of the prompt", i)
                    .isCloseTo(logits[i - 1][prompt[i]] - Math.log(sum), org.assertj.core.api.Assertions.within(1e-5));
            assertThat(one.rank()).isEqualTo(rank);
            assertThat(one.topTokenIds()).hasSize(count);
            for (int k = 0; k < count; k++) {
                double expected = logits[i - 1][one.topTokenIds()[k]] - Math.log(sum);
                assertThat((double) one.topLogprobs()[k])
                        .isCloseTo(expected, org.assertj.core.api.Assertions.within(1e-5));
                assertThat(one.topLogprobs()[k]).isLessThanOrEqualTo(one.topLogprobs()[Math.max(0, k - 1)]);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 0", "2, 1", "3, 5", "4, 0", "5, 2", "16, 3", "17, 1", "33, 61", "60, 2"})
    void oneForEachTokenOfThePromptButTheFirst(int length, int count) {
        try (Engine engine = Engine.start(config().build(), model)) {
            Collected answer = submit(engine, "a", prompt(length), 3, count);
            assertThat(answer.await().reason()).isEqualTo(FinishReason.LENGTH);
            verify(answer, prompt(length), count);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(length), 3, 64));
            EngineScenarioTest.quiet(engine);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 5, 8, 16, 31, 32, 64})
    void chunksOfThePromptChangeNothing(int budget) {
        try (Engine engine =
                Engine.start(config().maxNumSeqs(1).maxNumBatchedTokens(budget).build(), model)) {
            Collected answer = submit(engine, "a", prompt(40), 2, 2);
            answer.await();
            verify(answer, prompt(40), 2);
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void cachedPromptIsComputedAgainAndStillFoundByOthers() {
        try (Engine engine = Engine.start(config().build(), model)) {
            submit(engine, "plain", prompt(30), 1, 0).await();
            Collected answer = submit(engine, "again", prompt(30), 1, 1);
            assertThat(answer.await().cachedTokens()).isZero();
            verify(answer, prompt(30), 1);
            Collected plain = new Collected();
            engine.submit(new EngineRequest("third", prompt(30), SamplingParams.greedy(1)), plain);
            assertThat(plain.await().cachedTokens()).isEqualTo(28);
            assertThat(plain.promptLogprobs()).isEmpty();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void preemptionChangesNothing() {
        // The others decode while the long prompt is computed token by token, and take its blocks.
        EngineConfig tight =
                config().numBlocks(13).maxNumBatchedTokens(4).blockTokens(4).build();
        SlowLm slow = new SlowLm();
        try (Engine engine = Engine.start(tight, slow)) {
            Collected[] others = new Collected[2];
            for (int i = 0; i < 2; i++) {
                others[i] = new Collected();
                engine.submit(new EngineRequest("o" + i, prompt(3 + i), SamplingParams.greedy(30)), others[i]);
            }
            Collected answer = submit(engine, "a", prompt(35), 10, 2);
            slow.go.countDown();
            answer.await();
            verify(answer, prompt(35), 2);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(35), 10, 52));
            assertThat(engine.stats().preemptions()).isPositive();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void decoderComputesThePromptItselfAndLetsThePrefillerGo() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = Engine.start(
                        config().kvTransfer(Optional.of(EngineScenarioTest.transfer("P")))
                                .build(),
                        new MemoryLm(0),
                        network.factory());
                Engine decoder = Engine.start(
                        config().kvTransfer(Optional.of(EngineScenarioTest.transfer("D")))
                                .build(),
                        model,
                        network.factory())) {
            Collected first = new Collected();
            prefiller.submit(new EngineRequest("a", prompt(22), sampling(1, 1), KvTransferParams.REMOTE_DECODE), first);
            Finish prefilled = first.await();
            verify(first, prompt(22), 1);
            Collected answer = new Collected();
            decoder.submit(new EngineRequest("a", prompt(22), sampling(4, 1), prefilled.kvTransferParams()), answer);
            assertThat(answer.await().externalTokens()).isZero();
            verify(answer, prompt(22), 1);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(22), 4, 64));
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
            assertThat(network.node("P").numLeases()).isZero();
        }
    }

    @Test
    void logitsThatAreNotFiniteInTheMiddleOfThePromptEndTheRequest() {
        MemoryLm broken = new MemoryLm(0) {
            @Override
            public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
                super.forward(batch, kv, logits);
                for (int i = 0; i < batch.numLogits(); i++) {
                    if (batch.position(batch.logitsRow(i)) == 10) {
                        logits[i * VOCAB + 3] = Float.NaN;
                    }
                }
            }
        };
        try (Engine engine = Engine.start(config().maxNumBatchedTokens(6).build(), broken)) {
            Collected answer = submit(engine, "a", prompt(30), 5, 1);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error()).contains("the model's logits are not finite");
            assertThat(answer.numTokens()).isZero();
            assertThat(engine.stats().corruptedRequests()).isEqualTo(1);
            EngineScenarioTest.quiet(engine);
        }
    }
}
