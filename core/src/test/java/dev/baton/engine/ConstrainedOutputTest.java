package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.engine.RequestOutput.Finish;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What a constraint, allowed tokens and bad words make of a request's output in a running engine.
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class ConstrainedOutputTest {
    private static final TurningConstraint TURNING = new TurningConstraint(MemoryLm.VOCAB, MemoryLm.EOS, 12);

    private final MemoryLm model = new MemoryLm(0.1);

    private static EngineConfig.Builder config(int numBlocks) {
        return EngineConfig.builder("memory", 64)
                .blockTokens(4)
                .numBlocks(numBlocks)
                .maxNumSeqs(4)
                .maxNumBatchedTokens(16);
    }

    private static int[] prompt(int seed, int length) {
        return EngineScenarioTest.prompt(new Random(seed), length, length);
    }

    private static Collected submit(Engine engine, String id, int[] prompt, SamplingParams sampling) {
        Collected answer = new Collected();
        engine.submit(new EngineRequest(id, prompt, sampling), answer);
        return answer;
    }

    private static SamplingParams.Builder sampled(int maxTokens, long seed) {
        return SamplingParams.builder(maxTokens).temperature(1.5f).seed(OptionalLong.of(seed));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void constrainedOutputEndsWithEndOfSequenceAlsoIfThatIsIgnored(boolean ignoreEos) {
        try (Engine engine = Engine.start(config(64).build(), model)) {
            SamplingParams sampling = sampled(40, 1)
                    .constraint(Optional.of(TURNING))
                    .ignoreEos(ignoreEos)
                    .build();
            Collected answer = submit(engine, "a", prompt(1, 9), sampling);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.STOP);
            assertThat(finish.stopTokenId()).isEmpty();
            assertThat(answer.tokens()).hasSize(13).endsWith(MemoryLm.EOS);
            assertThat(TURNING.allows(answer.tokens())).isTrue();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void endOfSequenceTokensAreTheModelsAndTheConfigured() {
        int further = MemoryLm.EOS + 1;
        EngineConfig config =
                config(64).eosTokenIds(List.of(further, MemoryLm.EOS)).build();
        try (Engine engine = Engine.start(config, model)) {
            assertThat(engine.eosTokenIds()).containsExactly(MemoryLm.EOS, further);
            SamplingParams sampling = sampled(40, 1)
                    .constraint(Optional.of(new TurningConstraint(MemoryLm.VOCAB, further, 12)))
                    .build();
            Collected answer = submit(engine, "a", prompt(1, 9), sampling);
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.STOP);
            assertThat(finish.stopTokenId()).isEmpty();
            assertThat(finish.lastTokenIsEnd()).isTrue();
            assertThat(answer.tokens()).hasSize(13).endsWith(further);
        }
    }

    @Test
    void endOfSequenceTokenThatTheModelDoesNotHaveIsRefused() {
        EngineConfig config = config(64).eosTokenIds(List.of(MemoryLm.VOCAB)).build();
        assertThatThrownBy(() -> Engine.start(config, model))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("eosTokenIds has token id " + MemoryLm.VOCAB);
    }

    @Test
    void moreSequencesThanLogitsHaveRoomForAreRefusedByTheNameOfTheFlag() {
        EngineConfig config = config(64)
                .maxNumSeqs(Integer.MAX_VALUE)
                .maxNumBatchedTokens(Integer.MAX_VALUE)
                .build();
        assertThatThrownBy(() -> Engine.start(config, model))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("--max-num-seqs");
    }

    @Test
    void constraintOutlivesPreemption() {
        List<int[]> alone = new ArrayList<>();
        SamplingParams[] sampling = new SamplingParams[4];
        for (int i = 0; i < 4; i++) {
            sampling[i] = sampled(30, i).constraint(Optional.of(TURNING)).build();
            try (Engine engine = Engine.start(config(64).build(), new MemoryLm(0.1))) {
                Collected answer = submit(engine, "alone", prompt(i, 9), sampling[i]);
                answer.await();
                alone.add(answer.tokens());
            }
        }
        // Four requests of up to 22 tokens, in 10 blocks of 4.
        SlowLm slow = new SlowLm(0.1);
        try (Engine engine = Engine.start(config(10).build(), slow)) {
            Collected[] answers = new Collected[4];
            for (int i = 0; i < 4; i++) {
                answers[i] = submit(engine, "r" + i, prompt(i, 9), sampling[i]);
            }
            slow.go.countDown();
            for (int i = 0; i < 4; i++) {
                assertThat(answers[i].await().reason()).isEqualTo(FinishReason.STOP);
                assertThat(answers[i].tokens()).isEqualTo(alone.get(i));
            }
            assertThat(engine.stats().preemptions()).isPositive();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void decoderBeginsTheConstraintAnewAndDrawsThePrefillersFirstTokenAgain() {
        SamplingParams sampling =
                sampled(30, 5).constraint(Optional.of(TURNING)).build();
        try (MemoryNetwork network = new MemoryNetwork(1, 0, 0, 60_000);
                Engine prefiller = Engine.start(
                        config(64)
                                .kvTransfer(Optional.of(EngineScenarioTest.transfer("P")))
                                .build(),
                        new MemoryLm(0.1),
                        network.factory());
                Engine decoder = Engine.start(
                        config(64)
                                .kvTransfer(Optional.of(EngineScenarioTest.transfer("D")))
                                .build(),
                        new MemoryLm(0.1),
                        network.factory());
                Engine alone = Engine.start(config(64).build(), model)) {
            Collected first = new Collected();
            prefiller.submit(
                    new EngineRequest(
                            "a",
                            prompt(5, 10),
                            sampled(1, 5).constraint(Optional.of(TURNING)).build(),
                            KvTransferParams.REMOTE_DECODE),
                    first);
            Finish prefilled = first.await();
            assertThat(prefilled.held()).isTrue();
            Collected rest = new Collected();
            decoder.submit(new EngineRequest("a", prompt(5, 10), sampling, prefilled.kvTransferParams()), rest);
            assertThat(rest.await().externalTokens()).isEqualTo(10);
            Collected one = submit(alone, "one", prompt(5, 10), sampling);
            one.await();
            assertThat(first.tokens()).containsExactly(one.tokens()[0]);
            assertThat(rest.tokens()).isEqualTo(one.tokens());
            assertThat(TURNING.allows(rest.tokens())).isTrue();
            EngineScenarioTest.quiet(prefiller);
            EngineScenarioTest.quiet(decoder);
        }
    }

    /// A constraint whose way ends after some tokens, in one manner or another.
    private static TokenConstraint breaking(int after, String manner) {
        return () -> new TokenConstraint.Matcher() {
            private int numTokens;

            @Override
            public boolean fillMask(long[] mask) {
                java.util.Arrays.fill(mask, -1);
                if (numTokens == after && manner.equals("mask throws")) {
                    throw new IllegalStateException("planted");
                }
                if (numTokens == after && manner.equals("mask nests too deep")) {
                    throw new StackOverflowError("planted");
                }
                return numTokens != after || !manner.equals("dead end");
            }

            @Override
            public boolean accept(int token) {
                if (numTokens == after && manner.equals("accept throws")) {
                    throw new IllegalStateException("planted");
                }
                if (numTokens == after && manner.equals("accept nests too deep")) {
                    throw new StackOverflowError("planted");
                }
                return numTokens++ != after || !manner.equals("refuses");
            }
        };
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "dead end",
                "mask throws",
                "accept throws",
                "mask nests too deep",
                "accept nests too deep",
                "refuses"
            })
    void constraintThatKnowsNoWayOnEndsItsOwnRequestWithAnErrorAndWithoutAWrongToken(String manner) {
        try (Engine engine = Engine.start(config(64).build(), new MemoryLm(0))) {
            SamplingParams broken =
                    sampled(30, 1).constraint(Optional.of(breaking(3, manner))).build();
            Collected answer = submit(engine, "broken", prompt(1, 9), broken);
            Collected other = submit(engine, "other", prompt(2, 9), SamplingParams.greedy(20));
            Finish finish = answer.await();
            assertThat(finish.reason()).isEqualTo(FinishReason.ERROR);
            assertThat(finish.error())
                    .hasValueSatisfying(error -> assertThat(error).contains("constraint of the output"));
            assertThat(answer.numTokens()).isEqualTo(3);
            assertThat(answer.late()).isEmpty();
            assertThat(other.await().reason()).isEqualTo(FinishReason.LENGTH);
            assertThat(other.tokens()).isEqualTo(new MemoryLm(0).reference(prompt(2, 9), 20, 64));
            assertThat(engine.stats().corruptedRequests()).isZero();
            EngineScenarioTest.quiet(engine);
        }
    }

    @Test
    void constraintThatCannotBeginRefusesTheRequestAndLeavesNothing() {
        try (Engine engine = Engine.start(config(64).maxWaiting(1).build(), model)) {
            TokenConstraint broken = () -> {
                throw new IllegalStateException("planted");
            };
            for (int i = 0; i < 3; i++) {
                assertThatThrownBy(() -> submit(
                                engine,
                                "a",
                                prompt(1, 9),
                                sampled(5, 1).constraint(Optional.of(broken)).build()))
                        .hasMessage("planted");
            }
            assertThat(engine.isKnown("a")).isFalse();
            submit(engine, "a", prompt(1, 9), SamplingParams.greedy(3)).await();
        }
    }

    @Test
    void nothingButAllowedTokensComesAndNoBadWordComesAbout() {
        List<Integer> allowed = List.of(10, 20, 30);
        List<List<Integer>> badWords = List.of(List.of(10, 20), List.of(30, 30, 10));
        SamplingParams sampling =
                sampled(50, 9).allowedTokenIds(allowed).badWords(badWords).build();
        try (Engine engine = Engine.start(config(64).build(), model)) {
            Collected answer = submit(engine, "a", prompt(1, 9), sampling);
            assertThat(answer.await().reason()).isEqualTo(FinishReason.LENGTH);
            List<Integer> tokens = IntStream.of(answer.tokens()).boxed().toList();
            assertThat(tokens).hasSize(50).hasSameElementsAs(allowed);
            for (List<Integer> word : badWords) {
                assertThat(java.util.Collections.indexOfSubList(tokens, word)).isNegative();
            }
            // Without the rule, both come about: the test would see it if it were not kept.
            Collected free = submit(
                    engine,
                    "b",
                    prompt(1, 9),
                    sampled(50, 9).allowedTokenIds(allowed).build());
            free.await();
            List<Integer> words = IntStream.of(free.tokens()).boxed().toList();
            assertThat(java.util.Collections.indexOfSubList(words, badWords.get(0)))
                    .isNotNegative();
        }
    }

    @Test
    void tokensOutsideTheVocabularyAreRefusedWhereverTheyStand() {
        try (Engine engine = Engine.start(config(64).build(), model)) {
            for (int token : new int[] {-1, MemoryLm.VOCAB}) {
                assertThatThrownBy(() -> submit(
                                engine,
                                "a",
                                prompt(1, 3),
                                sampled(5, 1).allowedTokenIds(List.of(1, token)).build()))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("allowedTokenIds has token id " + token);
                assertThatThrownBy(() -> submit(
                                engine,
                                "a",
                                prompt(1, 3),
                                sampled(5, 1)
                                        .badWords(List.of(List.of(1, token)))
                                        .build()))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("badWords has token id " + token);
            }
        }
    }
}
