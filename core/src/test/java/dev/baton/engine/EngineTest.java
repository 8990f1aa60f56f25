package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.engine.RequestOutput.Finish;
import dev.baton.engine.RequestOutput.Timings;
import dev.baton.kvcache.BlockHasher;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import dev.baton.transfer.TransferException;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What an engine promises to its callers, one promise a test.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class EngineTest {
    private static final int BLOCK = 4;

    private final MemoryLm model = new MemoryLm(0);

    @BeforeAll
    static void lookOften() {
        Awaitility.setDefaultPollInterval(Duration.ofMillis(2));
    }

    @AfterAll
    static void lookAsBefore() {
        Awaitility.reset();
    }

    private static EngineConfig config(int numBlocks, Optional<KvTransferConfig> transfer) {
        return EngineConfig.builder("memory", 64)
                .blockTokens(BLOCK)
                .numBlocks(numBlocks)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16)
                .maxWaiting(8)
                .stepDeadline(Duration.ofSeconds(10))
                .kvTransfer(transfer)
                .build();
    }

    private static Engine start(MemoryLm model) {
        return Engine.start(config(32, Optional.empty()), model);
    }

    private static EngineRequest request(String id, int[] prompt, int maxTokens) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), KvTransferParams.NONE);
    }

    private static int[] prompt(int length) {
        return EngineScenarioTest.prompt(new Random(length), length, length);
    }

    private static Collected submit(Engine engine, String id, int[] prompt, int maxTokens) {
        Collected answer = new Collected();
        engine.submit(request(id, prompt, maxTokens), answer);
        return answer;
    }

    @Test
    void requestEndsByLength() {
        try (Engine engine = start(model)) {
            Collected answer = submit(engine, "a", prompt(9), 5);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(finish.promptTokens()).isEqualTo(9);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(9), 5, 64));
            assertThat(engine.stats().generationTokens()).isEqualTo(5);
            assertThat(engine.stats().promptTokens()).isEqualTo(9);
        }
    }

    @Test
    void contextEndsARequest() {
        try (Engine engine = start(model)) {
            Collected answer = submit(engine, "a", prompt(60), 50);
            assertThat(answer.await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(answer.tokens()).hasSize(4);
        }
    }

    @Test
    void poolSmallerThanTheContextEndsARequestInsteadOfStarvingIt() {
        try (Engine engine = Engine.start(config(3, Optional.empty()), model)) {
            Collected answer = submit(engine, "a", prompt(9), 50);
            assertThat(answer.await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(9), 3, 64));
            assertThatThrownBy(() -> submit(engine, "b", prompt(12), 1))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("12 tokens")
                    .hasMessageContaining("numBlocks");
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void stopTokenEndsARequestAndIsNamedUnlessItIsEndOfSequence() {
        int[] expected = model.reference(prompt(9), 20, 64);
        SamplingParams greedy = SamplingParams.greedy(20);
        int stop = expected[6];
        int firstAt = 0;
        while (expected[firstAt] != stop) {
            firstAt++;
        }
        try (Engine engine = start(model)) {
            Collected answer = new Collected();
            engine.submit(
                    new EngineRequest("a", prompt(9), with(greedy, List.of(stop), 0, 0), KvTransferParams.NONE),
                    answer);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.STOP);
            assertThat(finish.stopTokenId()).isEqualTo(OptionalInt.of(stop));
            assertThat(answer.tokens()).isEqualTo(Arrays.copyOf(expected, firstAt + 1));
        }
        MemoryLm ending = new MemoryLm(1);
        try (Engine engine = start(ending)) {
            Collected answer = submit(engine, "b", prompt(9), 20);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.STOP);
            assertThat(finish.stopTokenId()).isEmpty();
            assertThat(answer.tokens()).containsExactly(MemoryLm.EOS);
        }
    }

    private static SamplingParams with(SamplingParams base, List<Integer> stop, int minTokens, int logprobs) {
        return base.toBuilder()
                .stopTokenIds(stop)
                .minTokens(minTokens)
                .logprobs(logprobs == 0 ? OptionalInt.empty() : OptionalInt.of(logprobs))
                .build();
    }

    private static SamplingParams biased(Map<Integer, Float> bias) {
        return SamplingParams.greedy(5).toBuilder().logitBias(bias).build();
    }

    @Test
    void endOfSequenceWaitsForMinTokens() {
        MemoryLm ending = new MemoryLm(1);
        try (Engine engine = start(ending)) {
            Collected answer = new Collected();
            SamplingParams sampling = with(SamplingParams.greedy(20), List.of(), 4, 3);
            engine.submit(new EngineRequest("a", prompt(9), sampling, KvTransferParams.NONE), answer);
            answer.await();
            assertThat(answer.tokens()).hasSize(5).endsWith(MemoryLm.EOS);
            assertThat(Arrays.copyOf(answer.tokens(), 4)).doesNotContain(MemoryLm.EOS);
            assertThat(answer.logprobs()).hasSize(5).allSatisfy(logprobs -> {
                assertThat(logprobs.topTokenIds()).hasSize(3);
                assertThat(logprobs.topTokenIds()[0]).isEqualTo(MemoryLm.EOS);
            });
        }
    }

    @Test
    void secondRequestReusesTheBlocksOfTheFirst() {
        try (Engine engine = start(model)) {
            assertThat(submit(engine, "a", prompt(16), 5).await().cachedTokens())
                    .isZero();
            long rows = model.rows;
            Collected again = submit(engine, "b", prompt(16), 5);
            assertThat(again.await().cachedTokens()).isEqualTo(12);
            assertThat(again.tokens()).isEqualTo(model.reference(prompt(16), 5, 64));
            assertThat(model.rows - rows).isEqualTo(4 + 4);
            assertThat(engine.stats().prefixCacheQueriedTokens()).isEqualTo(32);
            assertThat(engine.stats().prefixCacheHitTokens()).isEqualTo(12);
            assertThat(engine.resetPrefixCache().join()).isTrue();
            assertThat(submit(engine, "c", prompt(16), 5).await().cachedTokens())
                    .isZero();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void refusalsSayWhatIsWrong() {
        try (Engine engine = start(model)) {
            assertThatThrownBy(() -> submit(engine, "a", new int[0], 1)).hasMessageContaining("empty");
            assertThatThrownBy(() -> submit(engine, "a", prompt(64), 1)).hasMessageContaining("64 tokens");
            assertThatThrownBy(() -> submit(engine, "a", new int[] {1, MemoryLm.VOCAB}, 1))
                    .hasMessageContaining("token id 61");
            assertThatThrownBy(() -> submit(engine, "a", new int[] {-1}, 1)).hasMessageContaining("token id -1");
            for (int token : new int[] {-1, MemoryLm.VOCAB, Integer.MAX_VALUE}) {
                SamplingParams stops = with(SamplingParams.greedy(5), List.of(token), 2, 0);
                assertThatThrownBy(() -> engine.submit(
                                new EngineRequest("a", prompt(3), stops, KvTransferParams.NONE), new Collected()))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("stopTokenIds has token id " + token);
                SamplingParams biased = biased(Map.of(token, 1f));
                assertThatThrownBy(() -> engine.submit(
                                new EngineRequest("a", prompt(3), biased, KvTransferParams.NONE), new Collected()))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("logitBias has token id " + token);
            }
            assertThat(submit(engine, "a", prompt(63), 9).await().reason()).isEqualTo(FinishReason.LENGTH);
        }
    }

    @Test
    void queueIsBoundedAndAnIdIsInFlightOnce() {
        SlowLm slow = new SlowLm();
        try (Engine engine = start(slow)) {
            Collected first = submit(engine, "first", prompt(3), 1);
            await().until(() -> slow.forwards == 1);
            assertThatThrownBy(() -> submit(engine, "first", prompt(3), 1)).hasMessageContaining("in flight");
            Collected[] queued = new Collected[8];
            for (int i = 0; i < 8; i++) {
                queued[i] = submit(engine, "r" + i, prompt(3), 1);
            }
            assertThatThrownBy(() -> submit(engine, "one too many", prompt(3), 1))
                    .isInstanceOf(EngineException.QueueFull.class)
                    .hasMessageContaining("8 requests wait");
            slow.go.countDown();
            first.await();
            for (Collected answer : queued) {
                answer.await();
            }
            submit(engine, "first", prompt(3), 1).await();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void promptTokensThatWaitAreBoundedButOneRequestMayAlwaysWait() {
        SlowLm slow = new SlowLm();
        EngineConfig config = EngineConfig.builder("memory", 64)
                .blockTokens(BLOCK)
                .numBlocks(32)
                .maxNumSeqs(1)
                .maxWaitingTokens(10)
                .build();
        try (Engine engine = Engine.start(config, slow)) {
            Collected first = submit(engine, "first", prompt(3), 1);
            await().until(() -> slow.forwards == 1);
            Collected longest = submit(engine, "longest", prompt(40), 1);
            assertThatThrownBy(() -> submit(engine, "one too many", prompt(1), 1))
                    .isInstanceOf(EngineException.QueueFull.class)
                    .hasMessageContaining("41 prompt tokens")
                    .hasMessageContaining("may have 10")
                    .extracting("limit")
                    .isEqualTo(EngineException.QueueFull.Limit.PROMPT_TOKENS);
            assertThat(engine.stats().numQueuedTokens()).isEqualTo(40);
            slow.go.countDown();
            first.await();
            longest.await();
            Collected[] small = new Collected[20];
            for (int i = 0; i < small.length; i++) {
                small[i] = submit(engine, "s" + i, prompt(5), 1);
                small[i].await();
            }
            EngineScenarioTest.quiet(engine);
            assertThat(engine.stats().numQueuedTokens()).isZero();
        }
    }

    @Test
    void fullQueueSaysWhenHalfOfItWillHaveHadItsTurn() {
        MemoryLm slow = new MemoryLm(0) {
            @Override
            public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
                super.forward(batch, kv, logits);
                try {
                    Thread.sleep(20);
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
        };
        EngineConfig config = EngineConfig.builder("memory", 64)
                .blockTokens(BLOCK)
                .numBlocks(32)
                .maxNumSeqs(1)
                .maxWaiting(20)
                .build();
        try (Engine engine = Engine.start(config, slow)) {
            List<Collected> answers = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                try {
                    answers.add(submit(engine, "r" + i, prompt(3), 1));
                } catch (EngineException.QueueFull full) {
                    answers.get(answers.size() - 8).await();
                }
            }
            assertThatThrownBy(() -> {
                        for (int i = 0; i < 30; i++) {
                            answers.add(submit(engine, "more" + i, prompt(3), 1));
                        }
                    })
                    .isInstanceOfSatisfying(
                            EngineException.QueueFull.class,
                            full -> assertThat(full.retryAfter())
                                    .hasValueSatisfying(wait ->
                                            // One a step of 20 ms or more, and half of 20 have to go.
                                            assertThat(wait)
                                                    .isBetween(Duration.ofMillis(100), Duration.ofSeconds(20))));
            answers.forEach(Collected::await);
        }
    }

    @Test
    void timingsAreThePartsOfTheTimeFromSubmissionToTheEnd() throws InterruptedException {
        SlowLm slow = new SlowLm();
        EngineConfig config = EngineConfig.builder("memory", 64)
                .blockTokens(BLOCK)
                .numBlocks(32)
                .maxNumSeqs(1)
                .build();
        try (Engine engine = Engine.start(config, slow)) {
            long start = System.nanoTime();
            Collected first = submit(engine, "first", prompt(3), 20);
            await().until(() -> slow.forwards == 1);
            Collected second = submit(engine, "second", prompt(3), 5);
            Collected never = submit(engine, "never", prompt(3), 5);
            Thread.sleep(50);
            engine.abort("never");
            slow.go.countDown();
            Timings one = first.await().timings();
            Timings two = second.await().timings();
            Timings three = never.await().timings();
            long total = System.nanoTime() - start;
            // The first one's prompt and the others' wait took as long as the model was held.
            assertThat(one.prefillNanos()).isGreaterThan(45_000_000);
            assertThat(one.decodeNanos()).isPositive();
            assertThat(two.queuedNanos()).isGreaterThan(45_000_000);
            assertThat(two.prefillNanos()).isPositive();
            assertThat(two.decodeNanos()).isPositive();
            assertThat(three.queuedNanos()).isGreaterThan(45_000_000);
            assertThat(three.prefillNanos()).isZero();
            assertThat(three.decodeNanos()).isZero();
            for (Timings timings : List.of(one, two, three)) {
                assertThat(timings.queuedNanos()).isNotNegative();
                assertThat(timings.queuedNanos() + timings.prefillNanos() + timings.decodeNanos())
                        .isLessThanOrEqualTo(total);
            }
        }
    }

    @Test
    void tokensOfEachStepAreCounted() {
        try (Engine engine = start(model)) {
            submit(engine, "a", prompt(20), 4).await();
            await().untilAsserted(
                            () -> assertThat(engine.iterationTokens().sum()).isEqualTo(23));
            // 16 and 4 tokens of the prompt, then three times one.
            assertThat(Arrays.copyOf(engine.iterationTokens().counts(), 4)).containsExactly(3, 1, 1, 0);
            assertThat(engine.stats().steps()).isEqualTo(5);
        }
    }

    @Test
    void stepThatOverrunsItsDeadlineMakesTheEngineUnhealthyUntilItIsDone() {
        SlowLm slow = new SlowLm();
        EngineConfig config = EngineConfig.builder("memory", 64)
                .blockTokens(BLOCK)
                .numBlocks(8)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16)
                .maxWaiting(8)
                .stepDeadline(Duration.ofMillis(50))
                .build();
        try (Engine engine = Engine.start(config, slow)) {
            assertThat(engine.isHealthy()).isTrue();
            Collected answer = submit(engine, "a", prompt(3), 1);
            await().until(() -> !engine.isHealthy());
            slow.go.countDown();
            answer.await();
            await().until(engine::isHealthy);
        }
    }

    @Test
    void modelThatThrowsEndsAllRequestsWithAnErrorAndTheEngine() {
        SlowLm broken = new SlowLm() {
            @Override
            public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
                super.forward(batch, kv, logits);
                if (forwards == 3) {
                    throw new IllegalStateException("out of order");
                }
            }
        };
        try (Engine engine = start(broken)) {
            Collected a = submit(engine, "a", prompt(9), 50);
            Collected b = submit(engine, "b", prompt(5), 50);
            broken.go.countDown();
            for (Collected answer : List.of(a, b)) {
                Finish finish = answer.await();
                assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
                assertThat(finish.error())
                        .hasValueSatisfying(error -> assertThat(error).contains("out of order"));
            }
            await().until(() -> broken.closed);
            assertThat(engine.isHealthy()).isFalse();
            assertThatThrownBy(() -> submit(engine, "c", prompt(5), 1))
                    .isInstanceOf(EngineException.Dead.class)
                    .hasMessageContaining("out of order");
            assertThat(engine.checkIntegrity()).isCompletedExceptionally();
            engine.abort("a");
        }
    }

    @Test
    void logitsThatAreNotFiniteEndTheRequestWithAnErrorAndLeaveNothingInTheCache() {
        MemoryLm poisoned = new MemoryLm(0) {
            @Override
            public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
                super.forward(batch, kv, logits);
                for (int i = 0; i < batch.numLogits(); i++) {
                    if (batch.position(batch.logitsRow(i)) == 20) {
                        logits[i * VOCAB + 3] = Float.NaN;
                    }
                }
            }
        };
        try (Engine engine = start(poisoned)) {
            Collected healthy = submit(engine, "healthy", prompt(3), 10);
            Collected sick = submit(engine, "sick", prompt(18), 10);
            Finish finish = sick.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error())
                    .hasValueSatisfying(error -> assertThat(error).contains("not finite"));
            assertThat(sick.tokens()).isEqualTo(model.reference(prompt(18), 3, 64));
            assertThat(healthy.await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(healthy.tokens()).isEqualTo(model.reference(prompt(3), 10, 64));
            assertThat(submit(engine, "again", prompt(18), 1).await().cachedTokens())
                    .isZero();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void listenerThatThrowsEndsItsOwnRequestOnly() {
        try (Engine engine = start(model)) {
            engine.submit(request("bad", prompt(9), 50), output -> {
                throw new IllegalStateException("listener");
            });
            engine.submit(request("bad at the end", prompt(7), 1), output -> {
                throw new AssertionError("listener");
            });
            Collected good = submit(engine, "good", prompt(9), 20);
            good.await();
            assertThat(good.tokens()).isEqualTo(model.reference(prompt(9), 20, 64));
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void abortEndsRunningAndWaitingRequests() {
        SlowLm slow = new SlowLm();
        try (Engine engine = start(slow)) {
            Collected[] answers = new Collected[8];
            for (int i = 0; i < 8; i++) {
                answers[i] = submit(engine, "r" + i, prompt(10), 50);
            }
            await().until(() -> slow.forwards == 1);
            for (int i = 0; i < 8; i++) {
                engine.abort("r" + i);
            }
            engine.abort("nobody");
            slow.go.countDown();
            for (Collected answer : answers) {
                assertThat(answer.await().reason()).isEqualTo(FinishReason.ABORT);
            }
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void closeAnswersEveryoneAndRefusesWhoComesLater() {
        Engine engine = start(model);
        Collected answer = submit(engine, "a", prompt(9), 50_000);
        engine.close();
        engine.close();
        assertThat(answer.await().reason()).isIn(FinishReason.ABORT, FinishReason.LENGTH);
        assertThat(model.closed).isTrue();
        assertThatThrownBy(() -> submit(engine, "b", prompt(9), 1))
                .isInstanceOf(EngineException.Dead.class)
                .hasMessageContaining("closed");
        assertThat(engine.isHealthy()).isFalse();
    }

    @Test
    void descriptionNamesModelCacheAndConnector() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 1_000);
                Engine engine = Engine.start(
                        config(32, Optional.of(EngineScenarioTest.transfer("P"))), model, network.factory())) {
            assertThat(engine.describe()).contains("memory, MemoryLm", "32 blocks of 4", "MemoryNetwork P");
        }
    }

    @Test
    void configurationThatDoesNotFitTheModelIsRefused() {
        EngineConfig config = EngineConfig.builder("memory", 5_000)
                .blockTokens(BLOCK)
                .numBlocks(8)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16)
                .maxWaiting(8)
                .stepDeadline(Duration.ofSeconds(1))
                .build();
        assertThatThrownBy(() -> Engine.start(config, model)).hasMessageContaining("4096 positions");
    }

    /* Hand-off: a prefiller P and a decoder D. */

    private static Collected prefill(Engine prefiller, String id, int[] prompt) {
        Collected answer = new Collected();
        prefiller.submit(
                new EngineRequest(id, prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE), answer);
        return answer;
    }

    /// The hand-off that a prefiller gives for a prompt.
    private static KvTransferParams prefilled(Engine prefiller, String id, int[] prompt) {
        return prefill(prefiller, id, prompt).await().kvTransferParams();
    }

    private static Collected decode(Engine decoder, String id, int[] prompt, int maxTokens, KvTransferParams params) {
        Collected answer = new Collected();
        decoder.submit(new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), params), answer);
        return answer;
    }

    private Engine node(MemoryNetwork network, String id, KvLoadFailurePolicy policy, MemoryLm lm) {
        KvTransferConfig transfer =
                new KvTransferConfig("MemoryNetwork", KvRole.KV_BOTH, id, "memory", 0, policy, Map.of());
        return Engine.start(config(32, Optional.of(transfer)), lm, network.factory());
    }

    private Engine node(MemoryNetwork network, String id) {
        return node(network, id, KvLoadFailurePolicy.RECOMPUTE, model);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63})
    void decoderComputesOneRowOfAPromptThatArrived(int length) {
        MemoryLm decodeModel = new MemoryLm(0);
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 10_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D", KvLoadFailurePolicy.RECOMPUTE, decodeModel)) {
            Collected first = prefill(prefiller, "a", prompt(length));
            KvTransferParams params = first.await().kvTransferParams();
            RemotePrefill source = RemotePrefill.of(params);
            assertThat(source.numTokens()).isEqualTo(length);
            assertThat(source.blockIds()).hasSize((length + BLOCK - 1) / BLOCK);
            assertThat(prefiller.checkIntegrity().join().inUse())
                    .isEqualTo(source.blockIds().size());
            Collected answer = decode(decoder, "a", prompt(length), 1, params);
            Finish finish = answer.await();
            assertThat(answer.tokens()).isEqualTo(first.tokens());
            assertThat(decodeModel.rows).isEqualTo(1);
            assertThat(finish.externalTokens()).isEqualTo(length == 1 ? 0 : length);
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void onlyMissingBlocksAreLoaded() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 10_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            submit(decoder, "before", Arrays.copyOf(prompt(30), 12), 1).await();
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            Collected answer = decode(decoder, "a", prompt(30), 10, params);
            Finish finish = answer.await();
            assertThat(finish.cachedTokens()).isEqualTo(12);
            assertThat(finish.externalTokens()).isEqualTo(18);
            assertThat(network.node("D").blocksLoaded).isEqualTo(8 - 3);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(30), 10, 64));
            assertThat(decoder.stats().externalQueriedTokens()).isEqualTo(18);
            assertThat(decoder.stats().externalHitTokens()).isEqualTo(18);
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {29, 30, 32})
    void fullHitOnTheDecoderLoadsNothingAndReleasesThePrefiller(int length) {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            submit(decoder, "before", prompt(length), 1).await();
            KvTransferParams params = prefilled(prefiller, "a", prompt(length));
            Collected answer = decode(decoder, "a", prompt(length), 10, params);
            Finish finish = answer.await();
            assertThat(finish.externalTokens()).isZero();
            assertThat(finish.cachedTokens()).isEqualTo(28);
            assertThat(network.node("D").emptyLoads).isEqualTo(1);
            assertThat(answer.tokens()).isEqualTo(model.reference(prompt(length), 10, 64));
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void firstTokenEndOfSequenceIsHandedOverToo() {
        MemoryLm ending = new MemoryLm(1);
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = node(network, "P", KvLoadFailurePolicy.RECOMPUTE, ending);
                Engine decoder = node(network, "D", KvLoadFailurePolicy.RECOMPUTE, new MemoryLm(1))) {
            Finish first = prefill(prefiller, "a", prompt(10)).await();
            assertThat(first.reason()).isEqualTo(FinishReason.STOP);
            Collected answer = decode(decoder, "a", prompt(10), 9, first.kvTransferParams());
            assertThat(answer.await().reason()).isEqualTo(FinishReason.STOP);
            assertThat(answer.tokens()).containsExactly(MemoryLm.EOS);
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void blocksThatNobodyFetchesComeBackWhenTheLeaseExpires() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 3_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            await().until(() -> prefiller.stats().numHeld() == 1);
            EngineScenarioTest.quiet(prefiller);
            Collected late = decode(decoder, "a", prompt(30), 5, params);
            assertThat(late.await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(late.tokens()).isEqualTo(model.reference(prompt(30), 5, 64));
            assertThat(decoder.stats().kvLoadFailures()).isEqualTo(1);
        }
    }

    @Test
    void abortLetsGoOfHeldBlocks() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P")) {
            prefill(prefiller, "a", prompt(30)).await();
            assertThat(prefiller.checkIntegrity().join().inUse()).isEqualTo(8);
            prefiller.abort("a");
            EngineScenarioTest.quiet(prefiller);
        }
    }

    @Test
    void abortedLoadKeepsItsBlocksUntilNothingWritesIntoThem() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            network.stalled = true;
            network.ignoreCancels = true;
            Collected answer = decode(decoder, "a", prompt(30), 5, params);
            await().until(() -> decoder.stats().numLoading() == 1);
            decoder.abort("a");
            assertThat(answer.await().reason()).isEqualTo(FinishReason.ABORT);
            assertThat(decoder.checkIntegrity().join().inUse()).isEqualTo(8);
            network.ignoreCancels = false;
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
            assertThat(answer.late()).isEmpty();
        }
    }

    @Test
    void abortBeforeTheLoadReleasesThePrefiller() {
        SlowLm slow = new SlowLm();
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D", KvLoadFailurePolicy.RECOMPUTE, slow)) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            submit(decoder, "first", prompt(3), 1);
            await().until(() -> slow.forwards == 1);
            Collected answer = decode(decoder, "a", prompt(30), 5, params);
            decoder.abort("a");
            slow.go.countDown();
            assertThat(answer.await().reason()).isEqualTo(FinishReason.ABORT);
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void refusedRequestReleasesThePrefiller() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            assertThatThrownBy(() -> decode(decoder, "a", prompt(64), 5, params))
                    .hasMessageContaining("64 tokens");
            EngineScenarioTest.quiet(prefiller);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 29})
    void blocksOfAnotherPromptAreNotLoadedAndTheirLeaseIsReleased(int different) {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D", KvLoadFailurePolicy.FAIL, model)) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            int[] other = prompt(30);
            other[different] = (other[different] + 1) % MemoryLm.VOCAB;
            Collected answer = decode(decoder, "a", other, 10, params);
            Finish finish = answer.await();
            assertThat(finish.externalTokens()).isZero();
            assertThat(network.node("D").blocksLoaded).isZero();
            assertThat(answer.tokens()).isEqualTo(model.reference(other, 10, 64));
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void blocksWithoutADigestAreTakenAsTheyAre() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            assertThat(params.fields().get("remote_prompt_digest")).isEqualTo(BlockHasher.digest(prompt(30), 30));
            Collected answer = decode(
                    decoder, "a", prompt(30), 10, RemotePrefill.of(params).toParams());
            assertThat(answer.await().externalTokens()).isEqualTo(30);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"numNewMatchedTokens", "updateStateAfterAlloc"})
    void connectorThatThrowsEndsItsOwnRequestOnly(String method) {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = Engine.start(
                        config(32, Optional.of(EngineScenarioTest.transfer("D"))),
                        model,
                        failing(network.factory(), method, "bad"))) {
            Collected local = submit(decoder, "local", prompt(20), 40);
            KvTransferParams lost = prefilled(prefiller, "p1", prompt(30));
            Finish finish = decode(decoder, "bad", prompt(30), 5, lost).await();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error())
                    .hasValueSatisfying(error -> assertThat(error).contains("planted"));
            KvTransferParams params = prefilled(prefiller, "p2", prompt(30));
            assertThat(decode(decoder, "good", prompt(30), 5, params).await().externalTokens())
                    .isEqualTo(30);
            assertThat(local.await().reason()).isEqualTo(FinishReason.LENGTH);
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
        }
    }

    /// The connectors of a factory, except that a method of their scheduler side throws for one request.
    private static KvConnectorFactory failing(KvConnectorFactory factory, String method, String requestId) {
        return (config, spec, pool, compatibility, sink) -> {
            KvConnector whole = factory.create(config, spec, pool, compatibility, sink);
            KvConnector.SchedulerSide scheduler = proxy(KvConnector.SchedulerSide.class, (_, called, args) -> {
                if (called.getName().equals(method)
                        && ((KvRequest) args[0]).requestId().equals(requestId)) {
                    throw new TransferException("planted");
                }
                return called.invoke(whole.scheduler(), args);
            });
            return proxy(
                    KvConnector.class,
                    (_, called, args) -> called.getName().equals("scheduler") ? scheduler : called.invoke(whole, args));
        };
    }

    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler));
    }

    @Test
    void failedLoadEndsTheRequestIfThePolicySaysSo() {
        try (MemoryNetwork network = new MemoryNetwork(1, 1, 0, 60_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D", KvLoadFailurePolicy.FAIL, new MemoryLm(0))) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            Finish finish = decode(decoder, "a", prompt(30), 5, params).await();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error())
                    .hasValueSatisfying(error -> assertThat(error).contains("chance"));
            // Nothing of the torn blocks is found.
            Collected again = submit(decoder, "b", prompt(30), 5);
            assertThat(again.await().cachedTokens()).isZero();
            assertThat(again.tokens()).isEqualTo(model.reference(prompt(30), 5, 64));
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void loadsThatTakeAllBlocksStopNothingForGood() {
        // 32 blocks: three loads of 8 blocks each and a running request that needs the rest and more.
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            Collected[] loads = new Collected[3];
            KvTransferParams[] params = new KvTransferParams[3];
            int[][] prompts = new int[3][];
            for (int i = 0; i < 3; i++) {
                prompts[i] = prompt(29 + i);
                params[i] = prefilled(prefiller, "l" + i, prompts[i]);
            }
            network.stalled = true;
            for (int i = 0; i < 3; i++) {
                loads[i] = decode(decoder, "l" + i, prompts[i], 30, params[i]);
            }
            await().until(() -> decoder.stats().numLoading() == 3);
            Collected local = submit(decoder, "local", prompt(20), 40);
            // It runs beside the loads, grows into all blocks that are left, and is put off.
            await().until(() -> decoder.stats().preemptions() > 0);
            assertThat(decoder.checkIntegrity().join().inUse()).isEqualTo(24);
            long steps = decoder.stats().steps();
            await().pollDelay(Duration.ofMillis(50)).until(() -> true);
            assertThat(decoder.stats().steps()).isEqualTo(steps); // waits, and does not try again and again
            assertThat(local.isDone()).isFalse();
            network.stalled = false;
            for (int i = 0; i < 3; i++) {
                loads[i].await();
                assertThat(loads[i].tokens()).isEqualTo(model.reference(prompts[i], 30, 64));
            }
            local.await();
            assertThat(local.tokens()).isEqualTo(model.reference(prompt(20), 40, 64));
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
        }
    }

    @Test
    void loadsDoNotHoldUpLocalRequestsBehindThem() {
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 600_000);
                Engine prefiller = node(network, "P");
                Engine decoder = node(network, "D")) {
            KvTransferParams params = prefilled(prefiller, "a", prompt(30));
            network.stalled = true;
            Collected loading = decode(decoder, "a", prompt(30), 5, params);
            assertThat(submit(decoder, "b", prompt(10), 5).await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(loading.isDone()).isFalse();
            network.stalled = false;
            loading.await();
        }
    }
}
