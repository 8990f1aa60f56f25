package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.model.DeviceSteps;
import dev.baton.model.ForwardBatch;
import dev.baton.model.TokenChoices;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cuda.check.SamplingCase;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// An engine over a model that leaves its logits where it computes.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class DeviceStepsTest {
    private static final int NEW_TOKENS = 20;

    /// Computes in memory that the engine does not see, and counts what is copied out of it. A step's results are
    /// there when it is waited for, and not before.
    private static final class RemoteLm extends MemoryLm implements DeviceSteps {
        final AtomicInteger copies = new AtomicInteger();
        final AtomicInteger preparations = new AtomicInteger();
        final AtomicInteger stepsAhead = new AtomicInteger();
        final AtomicInteger rowsChosen = new AtomicInteger();
        /// Whether the device is busy with the step that is under way, however long it is waited for.
        volatile boolean isBusy;
        final AtomicInteger launches = new AtomicInteger();
        private final Deque<Result> underWay = new ArrayDeque<>();
        private int[] launched = {};
        private Result awaited = new Result(new float[0], new int[0]);

        private record Result(float[] logits, int[] tokens) {}

        RemoteLm(double eosShare) {
            super(eosShare);
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
        public void launch(ForwardBatch batch, PagedKv kv, TokenChoices choices) {
            assertThat(underWay).hasSizeLessThan(2);
            stepsAhead.addAndGet(underWay.size());
            launches.incrementAndGet();
            float[] logits = new float[batch.numLogits() * VOCAB];
            super.forward(resolved(batch), kv, logits);
            int[] tokens = new int[batch.numLogits()];
            for (int row = 0; row < tokens.length; row++) {
                tokens[row] = SamplingCase.of(0, 0, 1, 0).token(row(logits, row));
            }
            for (int i = 0; i < choices.size(); i++) {
                tokens[choices.row(i)] = wish(choices, i).token(row(logits, choices.row(i)));
                rowsChosen.incrementAndGet();
            }
            launched = tokens;
            underWay.add(new Result(logits, tokens));
        }

        /// The batch with the tokens that the step before chose.
        private ForwardBatch resolved(ForwardBatch batch) {
            ForwardBatch known = new ForwardBatch(batch.numTokens(), batch.numSequences());
            int logit = 0;
            for (int s = 0; s < batch.numSequences(); s++) {
                int first = batch.queryStart(s);
                int end = batch.queryStart(s + 1);
                int from = first < end ? batch.position(first) : 0;
                int[] tokens = new int[from + end - first];
                for (int row = first; row < end; row++) {
                    int token = batch.tokenId(row);
                    tokens[from + row - first] = token < 0 ? launched[~token] : token;
                }
                int wanted = 0;
                for (; logit < batch.numLogits() && batch.logitsRow(logit) < end; logit++) {
                    wanted++;
                }
                known.add(tokens, from, end - first, batch.blockTable(s), wanted);
            }
            return known;
        }

        /// The sequence of a choice, with the token that the step before chose where only this side knows it.
        private SamplingCase wish(TokenChoices choices, int i) {
            TokenChoices.Draw draw = choices.draw(i);
            int[] tokens = Arrays.copyOf(choices.tokens(i), choices.numTokens(i));
            int unknown = underWay.isEmpty() ? 0 : 1;
            if (unknown > 0 && tokens.length > 0) {
                tokens[tokens.length - 1] = launched[choices.row(i)];
            }
            return new SamplingCase(
                    draw.temperature(),
                    draw.topK(),
                    draw.topP(),
                    draw.minP(),
                    choices.uniform(i),
                    choices.isMasked(i) ? Optional.of(choices.mask(i).clone()) : Optional.empty(),
                    choices.biasedTokens(i),
                    choices.biases(i),
                    choices.penalties(i).repetition(),
                    choices.penalties(i).frequency(),
                    choices.penalties(i).presence(),
                    tokens,
                    choices.promptTokens(i));
        }

        private static float[] row(float[] logits, int row) {
            return Arrays.copyOfRange(logits, row * VOCAB, (row + 1) * VOCAB);
        }

        @Override
        public boolean isAwaitDue() {
            return !isBusy;
        }

        @Override
        public void await() {
            awaited = underWay.remove();
        }

        @Override
        public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
            throw new AssertionError("all rows were asked for");
        }

        @Override
        public int token(int row) {
            return awaited.tokens[row];
        }

        @Override
        public void copyRow(int row, float[] logits, int offset) {
            assertThat(underWay).isEmpty();
            copies.incrementAndGet();
            System.arraycopy(awaited.logits, row * VOCAB, logits, offset, VOCAB);
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
    void greedyDecodingCopiesNoRowOfLogitsAndRunsAhead() throws InterruptedException {
        RemoteLm model = new RemoteLm(0);
        assertThat(outputs(model, sampling().build()))
                .isEqualTo(outputs(new MemoryLm(0), sampling().build()))
                .allMatch(tokens -> tokens.size() == NEW_TOKENS);
        assertThat(model.copies).hasValue(0);
        assertThat(model.rowsChosen).hasValue(0);
        assertThat(model.preparations).hasValue(1);
        assertThat(model.stepsAhead).hasPositiveValue();
    }

    static List<SamplingParams> chosenOnTheDevice() {
        SamplingParams.Builder drawn = sampling().temperature(0.8f).seed(OptionalLong.of(3));
        return List.of(
                drawn.build(),
                drawn.topK(5).build(),
                drawn.topK(20).topP(0.7f).build(),
                drawn.topK(0).topP(0.7f).build(),
                drawn.topP(1).minP(0.3f).build(),
                drawn.logitBias(Map.of(5, 3f, 9, -2f)).build(),
                drawn.repetitionPenalty(1.3f).frequencyPenalty(0.2f).build(),
                sampling().logitBias(Map.of(5, 3f)).build(),
                sampling().repetitionPenalty(1.3f).build(),
                sampling().presencePenalty(0.5f).build(),
                sampling().frequencyPenalty(0.5f).build(),
                sampling().allowedTokenIds(List.of(1, 2, 3, 4)).build(),
                sampling().badWords(List.of(List.of(9), List.of(4, 5))).build(),
                sampling().minTokens(NEW_TOKENS).stopTokenIds(List.of(3)).build());
    }

    @ParameterizedTest
    @MethodSource("chosenOnTheDevice")
    void tokensChosenOnTheDeviceAreTheCpusAndNoRowIsCopied(SamplingParams params) throws InterruptedException {
        RemoteLm model = new RemoteLm(0);
        assertThat(outputs(model, params)).isEqualTo(outputs(new MemoryLm(0), params));
        assertThat(model.copies).hasValue(0);
        assertThat(model.rowsChosen).hasPositiveValue();
    }

    @Test
    void requestThatNeedsLogitsGetsItsRowsAndTheSameTokens() throws InterruptedException {
        Map<Integer, Float> many = IntStream.range(0, MemoryLm.VOCAB)
                .boxed()
                .collect(Collectors.toMap(token -> token, token -> token / 100f));
        List<SamplingParams> needs = List.of(
                sampling().logprobs(OptionalInt.of(2)).build(),
                sampling().promptLogprobs(OptionalInt.of(1)).build(),
                sampling().logprobs(OptionalInt.of(0)).logitBias(many).build());
        for (SamplingParams params : needs) {
            RemoteLm model = new RemoteLm(0);
            assertThat(outputs(model, params)).isEqualTo(outputs(new MemoryLm(0), params));
            assertThat(model.copies.get()).as(params.toString()).isPositive();
        }
    }

    @Test
    void requestsThatEndWhileTheNextStepIsUnderWayEndAsOnTheCpu() throws InterruptedException {
        SamplingParams params = SamplingParams.builder(150).temperature(0).build();
        RemoteLm model = new RemoteLm(0.03);
        assertThat(outputs(model, params)).isEqualTo(outputs(new MemoryLm(0.03), params));
        assertThat(model.stepsAhead).hasPositiveValue();
    }

    private static EngineConfig config(String engineId) {
        KvTransferConfig transfer = new KvTransferConfig(
                "memory", KvRole.KV_BOTH, engineId, "127.0.0.1", 0, KvLoadFailurePolicy.FAIL, Map.of());
        return EngineConfig.builder("m", 512)
                .numBlocks(200)
                .kvTransfer(Optional.of(transfer))
                .build();
    }

    /// Has one engine compute a prompt, and the other one go on with it.
    private static Collected decodeElsewhere(Engine prefiller, Engine decoder, int[] prompt, int tokens) {
        Collected prefill = new Collected();
        prefiller.submit(
                new EngineRequest("p", prompt, SamplingParams.greedy(1), KvTransferParams.REMOTE_DECODE), prefill);
        KvTransferParams held = prefill.await().kvTransferParams();
        Collected answer = new Collected();
        decoder.submit(new EngineRequest("d", prompt, SamplingParams.greedy(tokens), held), answer);
        return answer;
    }

    @Test
    void firstTokenOfAPrefillerDoesNotWaitForTheStepThatIsUnderWay() {
        MemoryLm prefillerModel = new MemoryLm(0);
        RemoteLm model = new RemoteLm(0);
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = Engine.start(config("P"), prefillerModel, network.factory());
                Engine decoder = Engine.start(config("D"), model, network.factory())) {
            int[] prompt = new Random(3).ints(40, 0, MemoryLm.VOCAB).toArray();
            int[] expected = model.reference(prompt, NEW_TOKENS, 512);
            network.stalled = true;
            Collected answer = decodeElsewhere(prefiller, decoder, prompt, NEW_TOKENS);
            await().until(() -> network.node("D").numLoads() == 1);
            model.isBusy = true;
            Collected running = new Collected();
            decoder.submit(new EngineRequest("r", new int[] {1, 2, 3}, SamplingParams.greedy(40)), running);
            await().until(() -> model.launches.get() == 1);
            network.node("D").firstToken("d", expected[0]);
            await().until(() -> answer.numTokens() == 1);
            assertThat(answer.tokens()).containsExactly(expected[0]);
            assertThat(running.numTokens()).isZero();
            model.isBusy = false;
            network.stalled = false;
            answer.await();
            running.await();
            assertThat(answer.tokens()).isEqualTo(expected);
            assertThat(running.tokens()).isEqualTo(model.reference(new int[] {1, 2, 3}, 40, 512));
            EngineScenarioTest.quiet(decoder);
            EngineScenarioTest.quiet(prefiller);
        }
    }

    @Test
    void loadThatTakesLongDoesNotKeepOthersFromRunningAhead() throws InterruptedException {
        RemoteLm model = new RemoteLm(0);
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = Engine.start(config("P"), new MemoryLm(0), network.factory());
                Engine decoder = Engine.start(config("D"), model, network.factory())) {
            int[] prompt = new Random(3).ints(40, 0, MemoryLm.VOCAB).toArray();
            network.stalled = true;
            Collected loading = decodeElsewhere(prefiller, decoder, prompt, 5);
            await().until(() -> network.node("D").numLoads() == 1);
            TimeUnit.NANOSECONDS.sleep(2 * KvTransfers.SOON_NANOS);
            Collected running = new Collected();
            decoder.submit(new EngineRequest("r", new int[] {1, 2, 3}, SamplingParams.greedy(40)), running);
            running.await();
            assertThat(model.stepsAhead).hasPositiveValue();
            network.stalled = false;
            loading.await();
            assertThat(loading.tokens()).isEqualTo(model.reference(prompt, 5, 512));
            EngineScenarioTest.quiet(decoder);
        }
    }

    @Test
    void abortsAndNewRequestsBetweenStepsAheadLeaveNoBlockInUse() throws Exception {
        EngineConfig config = EngineConfig.builder("m", 2048)
                .numBlocks(400)
                .maxNumSeqs(8)
                .maxNumBatchedTokens(64)
                .build();
        Random random = new Random(11);
        RemoteLm model = new RemoteLm(0.01);
        try (Engine engine = Engine.start(config, model)) {
            List<Collected> answers = new ArrayList<>();
            List<int[]> prompts = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                int[] prompt =
                        random.ints(1 + random.nextInt(50), 0, MemoryLm.VOCAB).toArray();
                Collected answer = new Collected();
                engine.submit(new EngineRequest("r" + i, prompt, SamplingParams.greedy(120)), answer);
                if (i % 3 == 0) {
                    Thread.sleep(random.nextInt(3));
                    engine.abort("r" + i);
                }
                answers.add(answer);
                prompts.add(prompt);
            }
            for (int i = 0; i < answers.size(); i++) {
                Collected answer = answers.get(i);
                FinishReason reason = answer.await().reason();
                int[] expected = model.reference(prompts.get(i), 120, 2048);
                if (reason == FinishReason.ABORT) {
                    assertThat(i % 3).as("%d, which nobody aborted", i).isZero();
                    assertThat(answer.tokens())
                            .isEqualTo(Arrays.copyOf(expected, Math.min(answer.tokens().length, expected.length)));
                } else {
                    assertThat(answer.tokens()).isEqualTo(expected);
                }
                assertThat(answer.late()).isEmpty();
            }
            EngineScenarioTest.quiet(engine);
        }
        assertThat(model.stepsAhead).hasPositiveValue();
    }
}
