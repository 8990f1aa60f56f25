package dev.baton.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.baton.engine.RequestOutput.TokenLogprobs;
import dev.baton.kvcache.KvCacheManager;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvTransferParams;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SamplerTest {
    private static final KvCacheManager CACHE =
            new KvCacheManager(new KvCacheSpec("m", "float32", 4, 1, 1, 2, 4, 8), true, 1);

    /// Sampling parameters by name; greedy and without any filter unless told.
    private static final class Params {
        float temperature;
        float topP = 1;
        int topK;
        float minP;
        float repetition = 1;
        float presence;
        float frequency;
        int minTokens;
        boolean ignoreEos;
        List<Integer> stop = List.of();
        Map<Integer, Float> bias = Map.of();

        SamplingParams build(long seed) {
            return SamplingParams.builder(100)
                    .temperature(temperature)
                    .topP(topP)
                    .topK(topK)
                    .minP(minP)
                    .repetitionPenalty(repetition)
                    .presencePenalty(presence)
                    .frequencyPenalty(frequency)
                    .seed(OptionalLong.of(seed))
                    .minTokens(minTokens)
                    .ignoreEos(ignoreEos)
                    .stopTokenIds(stop)
                    .logitBias(bias)
                    .build();
        }
    }

    private static Request request(Params params, long seed, int[] prompt, int... output) {
        EngineRequest request = new EngineRequest("r", prompt, params.build(seed), KvTransferParams.NONE);
        Request state = new Request(request, ignored -> {}, CACHE.newTable(), 0, new int[] {0});
        for (int token : output) {
            state.append(token);
        }
        return state;
    }

    private static int sample(float[] logits, Params params, int[] prompt, int... output) {
        return new Sampler(logits.length).sample(logits, 0, request(params, 1, prompt, output));
    }

    /// Frequencies of the tokens drawn at 40,000 positions.
    private static double[] frequencies(float[] logits, Params params) {
        Sampler sampler = new Sampler(logits.length);
        double[] share = new double[logits.length];
        Request request = request(params, 11, new int[] {1});
        int n = 40_000;
        for (int i = 0; i < n; i++) {
            int token = sampler.sample(logits, 0, request);
            share[token] += 1.0 / n;
            request.append(token);
        }
        return share;
    }

    /// The distribution by its definition, with nothing clever: sort, cut, normalise.
    private static double[] definition(float[] logits, Params params) {
        double[] probability = softmax(logits, params.temperature);
        Integer[] order = IntStream.range(0, logits.length).boxed().toArray(Integer[]::new);
        Arrays.sort(order, Comparator.comparingDouble((Integer i) -> -logits[i]));
        double highest = probability[order[0]];
        boolean[] keep = new boolean[logits.length];
        int limit = params.topK == 0 ? logits.length : Math.min(params.topK, logits.length);
        double mass = 0;
        for (int i = 0; i < limit; i++) {
            mass += probability[order[i]] >= params.minP * highest ? probability[order[i]] : 0;
        }
        double cumulated = 0;
        for (int i = 0; i < limit && cumulated < params.topP * mass; i++) {
            if (probability[order[i]] >= params.minP * highest) {
                keep[order[i]] = true;
                cumulated += probability[order[i]];
            }
        }
        for (int i = 0; i < logits.length; i++) {
            probability[i] = keep[i] ? probability[i] / cumulated : 0;
        }
        return probability;
    }

    private static double[] softmax(float[] logits, double temperature) {
        double[] weights = new double[logits.length];
        double sum = 0;
        for (int i = 0; i < logits.length; i++) {
            weights[i] = Math.exp(logits[i] / temperature);
            sum += weights[i];
        }
        for (int i = 0; i < logits.length; i++) {
            weights[i] /= sum;
        }
        return weights;
    }

    @ParameterizedTest
    @CsvSource({
        "1.0, 1.0, 0, 0.0",
        "0.7, 1.0, 0, 0.0",
        "1.0, 0.8, 0, 0.0",
        "1.0, 0.3, 0, 0.0",
        "1.3, 1.0, 5, 0.0",
        "1.0, 0.7, 6, 0.0",
        "1.0, 1.0, 0, 0.2",
        "1.0, 0.9, 8, 0.1",
        "2.0, 0.95, 1000, 0.01",
        "1.0, 1.0, 1, 0.0",
        "50.0, 0.99, 0, 0.0"
    })
    void drawsFollowTheDefinition(float temperature, float topP, int topK, float minP) {
        Random random = new Random(5);
        float[] logits = new float[33];
        for (int i = 0; i < logits.length; i++) {
            logits[i] = (float) (random.nextGaussian() * 2.5);
        }
        Params params = new Params();
        params.temperature = temperature;
        params.topP = topP;
        params.topK = topK;
        params.minP = minP;
        double[] expected = definition(logits, params);
        double[] drawn = frequencies(logits, params);
        for (int i = 0; i < logits.length; i++) {
            if (expected[i] == 0) {
                assertThat(drawn[i]).isZero();
            }
            assertThat(drawn[i]).isCloseTo(expected[i], within(0.002 + 4 * Math.sqrt(expected[i] / 40_000)));
        }
    }

    @Test
    void longTailIsReachedWhenTheNucleusNeedsIt() {
        // Almost all the mass lies in a plateau further below the peak than the first look reaches.
        float[] logits = new float[50_000];
        logits[123] = 9;
        Params params = new Params();
        params.temperature = 1;
        params.topP = 0.9f;
        Sampler sampler = new Sampler(logits.length);
        Request request = request(params, 3, new int[] {1});
        int peak = 0;
        for (int i = 0; i < 500; i++) {
            int token = sampler.sample(logits, 0, request);
            peak += token == 123 ? 1 : 0;
            request.append(token);
        }
        // e^9 = 8,103 against 49,999, cut at 0.9 of both.
        assertThat(peak / 500.0).isCloseTo(8_103 / (0.9 * 58_102), within(0.06));
    }

    @Test
    void sameSeedPositionAndLogitsGiveTheSameTokenInAnySampler() {
        Random random = new Random(9);
        Params params = new Params();
        params.temperature = 1;
        params.topP = 0.9f;
        for (int round = 0; round < 50; round++) {
            float[] logits = randomLogits(random, 100);
            int[] prompt = random.ints(10, 0, 100).toArray();
            int first = new Sampler(100).sample(logits, 0, request(params, round, prompt, 1, 2, 3));
            // Another split of the same sequence into prompt and output: a request that moved to another engine.
            int[] longer = Arrays.copyOf(prompt, 12);
            longer[10] = 1;
            longer[11] = 2;
            float[] shifted = new float[300];
            System.arraycopy(logits, 0, shifted, 200, 100);
            assertThat(new Sampler(100).sample(shifted, 200, request(params, round, longer, 3)))
                    .isEqualTo(first);
        }
    }

    @Test
    void differentSeedsAndPositionsGiveDifferentTokens() {
        float[] flat = new float[1_000];
        Params params = new Params();
        params.temperature = 1;
        Sampler sampler = new Sampler(1_000);
        long seeds = IntStream.range(0, 100)
                .map(seed -> sampler.sample(flat, 0, request(params, seed, new int[] {1})))
                .distinct()
                .count();
        assertThat(seeds).isGreaterThan(80);
    }

    @Test
    void greedyTakesTheLowestIdOfEqualLogits() {
        assertThat(sample(new float[] {0, 3, 1, 3}, new Params(), new int[] {1}))
                .isEqualTo(1);
        assertThat(sample(new float[] {-0f, 0f}, new Params(), new int[] {1})).isZero();
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void logitThatIsNotFiniteGivesNoToken(float bad) {
        for (int at = 0; at < 9; at++) {
            float[] logits = new float[9];
            logits[at] = bad;
            assertThat(sample(logits, new Params(), new int[] {1})).isEqualTo(StepOutput.NOT_FINITE);
        }
    }

    /// The model is not to blame, so neither its blocks nor its counter of corrupted requests may be touched.
    @Test
    void penaltyThatMakesALogitInfiniteIsNotTakenForTheModelsFault() {
        Params params = new Params();
        params.repetition = Float.MIN_VALUE;
        assertThat(sample(new float[] {1, 2, 3}, params, new int[] {1})).isEqualTo(StepOutput.OUT_OF_RANGE);
        params.repetition = 1;
        params.bias = Map.of(0, Float.MAX_VALUE);
        assertThat(sample(new float[] {Float.MAX_VALUE, 2, 3}, params, new int[] {1}))
                .isEqualTo(StepOutput.OUT_OF_RANGE);
        assertThat(StepOutput.reason(StepOutput.OUT_OF_RANGE)).contains("repetition_penalty");
    }

    @Test
    void repetitionPenaltyDividesPositiveAndMultipliesNegativeLogitsOfPromptAndOutput() {
        Params params = new Params();
        params.repetition = 2;
        // 4 -> 2 by the prompt, although it is there twice; 3 stays.
        assertThat(sample(new float[] {0, 4, 3}, params, new int[] {1, 1})).isEqualTo(2);
        assertThat(sample(new float[] {-4, -2, -3}, params, new int[] {1}, 1)).isEqualTo(2);
        assertThat(sample(new float[] {-4, -1.4f, -3}, params, new int[] {1})).isEqualTo(1);
    }

    @Test
    void frequencyPenaltyCountsAndPresencePenaltyDoesNotAndBothLookAtTheOutputOnly() {
        Params frequency = new Params();
        frequency.frequency = 1;
        assertThat(sample(new float[] {0, 4, 2.5f}, frequency, new int[] {1, 1, 1}, 1))
                .isEqualTo(1);
        assertThat(sample(new float[] {0, 4, 2.5f}, frequency, new int[] {1}, 1, 1))
                .isEqualTo(2);
        Params presence = new Params();
        presence.presence = 1;
        assertThat(sample(new float[] {0, 4, 2.5f}, presence, new int[] {1}, 1, 1, 1))
                .isEqualTo(1);
        assertThat(sample(new float[] {0, 3.4f, 2.5f}, presence, new int[] {1}, 1))
                .isEqualTo(2);
    }

    @Test
    void penaltiesLeaveNoTraceForTheNextRequest() {
        Params params = new Params();
        params.repetition = 2;
        params.frequency = 1;
        Sampler sampler = new Sampler(3);
        float[] logits = {0, 4, 3};
        assertThat(sampler.sample(logits, 0, request(params, 1, new int[] {1}, 1)))
                .isEqualTo(2);
        assertThat(sampler.sample(logits, 0, request(params, 1, new int[] {0}))).isEqualTo(1);
        assertThat(logits).containsExactly(0, 4, 3);
    }

    @Test
    void biasIsAddedToTheLogit() {
        Params params = new Params();
        params.bias = Map.of(2, 5f, 1, -100f);
        assertThat(sample(new float[] {0, 4, 0}, params, new int[] {1})).isEqualTo(2);
    }

    @Test
    void endOfSequenceAndStopTokensAreMaskedBeforeMinTokens() {
        Params params = new Params();
        params.minTokens = 2;
        params.stop = List.of(1);
        float[] logits = {9, 8, 7};
        assertThat(sample(logits, params, new int[] {2}, 2)).isEqualTo(2);
        assertThat(sample(logits, params, new int[] {2}, 2, 2)).isZero();
        params.ignoreEos = true;
        assertThat(sample(logits, params, new int[] {2}, 2)).isZero();
    }

    @Test
    void nothingLeftToChooseIsAnError() {
        Params params = new Params();
        params.minTokens = 1;
        assertThat(sample(new float[] {1}, params, new int[] {0})).isEqualTo(StepOutput.NO_TOKEN_LEFT);
    }

    private static int sample(float[] logits, SamplingParams sampling, int[] prompt, int... output) {
        Request request = new Request(
                new EngineRequest("r", prompt, sampling), ignored -> {}, CACHE.newTable(), 0, new int[] {0});
        for (int token : output) {
            request.append(token);
        }
        return new Sampler(logits.length).sample(logits, 0, request);
    }

    private static SamplingParams.Builder greedy() {
        return SamplingParams.builder(100).temperature(0);
    }

    @Test
    void onlyAllowedTokensAreDrawn() {
        Random random = new Random(3);
        for (int vocab : new int[] {1, 5, 63, 64, 65, 127, 128, 129, 300}) {
            float[] logits = randomLogits(random, vocab);
            List<Integer> allowed = IntStream.range(0, 1 + random.nextInt(4))
                    .mapToObj(i -> random.nextInt(vocab))
                    .toList();
            int best = allowed.stream()
                    .max(Comparator.comparingDouble((Integer i) -> logits[i]))
                    .orElseThrow();
            assertThat(sample(logits, greedy().allowedTokenIds(allowed).build(), new int[] {0}))
                    .isEqualTo(best);
            for (int seed = 0; seed < 20; seed++) {
                SamplingParams drawn = SamplingParams.builder(100)
                        .temperature(2)
                        .topP(seed % 2 == 0 ? 1 : 0.9f)
                        .seed(OptionalLong.of(seed))
                        .logitBias(Map.of(vocab - 1, 50f))
                        .allowedTokenIds(allowed)
                        .build();
                assertThat(sample(logits, drawn, new int[] {0})).isIn(allowed);
            }
        }
    }

    @Test
    void badWordIsForbiddenWhereTheOutputEndsWithAllOfItButItsLastToken() {
        float[] logits = {0, 1, 2, 3};
        SamplingParams word = greedy().badWords(List.of(List.of(1, 2, 3))).build();
        assertThat(sample(logits, word, new int[] {1}, 1, 2)).isEqualTo(2);
        assertThat(sample(logits, word, new int[] {1}, 0, 1, 2)).isEqualTo(2);
        assertThat(sample(logits, word, new int[] {1}, 2, 1)).isEqualTo(3);
        // The prompt is not the output: a word that began there may come to its end.
        assertThat(sample(logits, word, new int[] {1}, 2)).isEqualTo(3);
        assertThat(sample(logits, word, new int[] {1, 2})).isEqualTo(3);
        SamplingParams single =
                greedy().badWords(List.of(List.of(3), List.of(2))).build();
        assertThat(sample(logits, single, new int[] {1})).isEqualTo(1);
    }

    /// A constraint of one step only.
    private static Optional<TokenConstraint> constraint(int vocab, int... allowed) {
        return Optional.of(() -> new TokenConstraint.Matcher() {
            @Override
            public boolean fillMask(long[] mask) {
                assertThat(mask).hasSize((vocab + 63) / 64);
                Arrays.fill(mask, 0);
                for (int token : allowed) {
                    mask[token / 64] |= 1L << token % 64;
                }
                return allowed.length > 0;
            }

            @Override
            public boolean accept(int token) {
                return true;
            }
        });
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 63, 64, 65, 128, 130})
    void constraintMasksAllOtherTokensWhateverBiasAndPenaltiesSay(int vocab) {
        float[] logits = new float[vocab];
        logits[0] = 50;
        int last = vocab - 1;
        SamplingParams params = greedy().constraint(constraint(vocab, last))
                .logitBias(Map.of(0, 100f, last, -100f))
                .repetitionPenalty(5)
                .presencePenalty(2)
                .build();
        assertThat(sample(logits, params, new int[] {last}, last)).isEqualTo(last);
    }

    @Test
    void masksThatExcludeEachOtherAreAnErrorAndNeverAToken() {
        float[] logits = {4, 3, 2, 1};
        assertThat(sample(logits, greedy().constraint(constraint(4)).build(), new int[] {1}))
                .isEqualTo(StepOutput.DEAD_END);
        SamplingParams allowed = greedy().constraint(constraint(4, 1, 2))
                .allowedTokenIds(List.of(3))
                .logitBias(Map.of(3, 100f))
                .build();
        assertThat(sample(logits, allowed, new int[] {1})).isEqualTo(StepOutput.NO_TOKEN_LEFT);
        SamplingParams bad = greedy().constraint(constraint(4, 2))
                .badWords(List.of(List.of(2)))
                .build();
        assertThat(sample(logits, bad, new int[] {1})).isEqualTo(StepOutput.NO_TOKEN_LEFT);
        Optional<TokenConstraint> broken = Optional.of(() -> new TokenConstraint.Matcher() {
            @Override
            public boolean fillMask(long[] mask) {
                throw new IllegalStateException("planted");
            }

            @Override
            public boolean accept(int token) {
                return true;
            }
        });
        assertThat(sample(logits, greedy().constraint(broken).build(), new int[] {1}))
                .isEqualTo(StepOutput.CONSTRAINT_FAILED);
    }

    @Test
    void constraintThatCanOnlyEndWinsOverMinTokens() {
        float[] logits = {4, 3, 2, 1};
        SamplingParams mayEnd =
                greedy().minTokens(5).constraint(constraint(4, 0, 2)).build();
        assertThat(sample(logits, mayEnd, new int[] {1})).isEqualTo(2);
        SamplingParams mustEnd =
                greedy().minTokens(5).constraint(constraint(4, 0)).build();
        assertThat(sample(logits, mustEnd, new int[] {1})).isZero();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 5, 31, 32, 33, 40})
    void logprobsAreThoseOfTheSoftmaxInDescendingOrder(int count) {
        float[] logits = randomLogits(new Random(count), 33);
        logits[7] = logits[20]; // a tie
        double[] probability = softmax(logits, 1);
        Integer[] order = IntStream.range(0, 33).boxed().toArray(Integer[]::new);
        Arrays.sort(order, Comparator.comparingDouble((Integer i) -> -logits[i])); // stable: lowest id first
        for (int token = 0; token < 33; token++) {
            TokenLogprobs logprobs = new Sampler(33).logprobs(logits, 0, token, count);
            assertThat((double) logprobs.logprob()).isCloseTo(Math.log(probability[token]), within(1e-5));
            assertThat(order[logprobs.rank() - 1]).isEqualTo(token);
            assertThat(logprobs.topTokenIds()).hasSize(Math.min(count, 33));
            for (int i = 0; i < logprobs.topTokenIds().length; i++) {
                assertThat(logprobs.topTokenIds()[i]).isEqualTo(order[i]);
                assertThat((double) logprobs.topLogprobs()[i]).isCloseTo(Math.log(probability[order[i]]), within(1e-5));
            }
        }
    }

    private static float[] randomLogits(Random random, int count) {
        float[] logits = new float[count];
        for (int i = 0; i < count; i++) {
            logits[i] = (float) (random.nextGaussian() * 2);
        }
        return logits;
    }
}
