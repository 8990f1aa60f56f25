package dev.baton.engine;

import dev.baton.engine.RequestOutput.TokenLogprobs;
import dev.baton.model.TokenChoices;
import java.util.Arrays;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Chooses the next token from a row of logits, by vLLM's definitions and in vLLM's order: the constraint, allowed
/// tokens, bad words and (before `minTokens`) stop tokens masked, logit bias, repetition, frequency and presence
/// penalty, then greedy, or temperature, min-p, top-k, top-p and one draw. A token that is masked stays so.
///
/// Where the constraint lets the output only end, it ends, also before `minTokens`: a shorter output is better
/// than one that breaks its schema.
///
/// The draw is the inverse of the cumulative distribution at one [Philox] number, keyed by the seed and the
/// token's position in its sequence. Sums run in a fixed order in double precision over [StrictMath], so that
/// the same seed, position and logits give the same token on every machine. Ties, also at the cut of top-k and
/// top-p, go to the lowest token id.
///
/// Log-probabilities are those of the model's own logits, before anything above (vLLM's `raw_logprobs`).
///
/// Keeps scratch memory of the size of the vocabulary, and allocates only log-probabilities. Not thread-safe.
final class Sampler {
    private static final Logger LOG = LoggerFactory.getLogger(Sampler.class);

    /// Temperatures below are greedy, as in vLLM.
    static final float GREEDY_BELOW = 1e-5f;

    /// How far below the likeliest candidate the first look for top-k and top-p reaches, in units of the
    /// temperature.
    private static final double FIRST_REACH = 8;

    private final int vocabSize;
    private final float[] logits; // (vocabSize), a copy to change
    private final double[] weights; // (vocabSize), exp((logit - highest) / temperature)
    private final Candidates candidates;
    private final int[] counts; // (vocabSize), all 0 between calls
    private final long[] mask; // (ceil(vocabSize / 64)), one bit a token that may come

    Sampler(int vocabSize) {
        this.vocabSize = vocabSize;
        this.logits = new float[vocabSize];
        this.weights = new double[vocabSize];
        this.candidates = new Candidates(vocabSize);
        this.counts = new int[vocabSize];
        this.mask = new long[Math.ceilDiv(vocabSize, Long.SIZE)];
    }

    /// Whether a request's next token is simply the likeliest one of the model's own logits: greedy, with nothing
    /// masked, biased or penalised.
    static boolean takesLikeliest(Request request) {
        return request.draw.temperature() == 0
                && !isMasked(request)
                && request.biases.length == 0
                && request.penalties.equals(TokenChoices.Penalties.NONE);
    }

    /// Whether there are tokens that may not come.
    static boolean isMasked(Request request) {
        return request.matcher != null
                || request.allowedTokens != null
                || request.badWords.length > 0
                || request.numOutputTokens() < request.sampling.minTokens();
    }

    /// The next token of a request.
    ///
    /// @param rows logits as the model wrote them, not changed
    /// @param offset where the request's row begins
    /// @return a token id, or the [StepOutput] code for why there is none: a logit is NaN or infinite, the
    ///     constraint failed or is at its dead end, no token is left to choose, or bias and penalties made a logit
    ///     infinite
    int sample(float[] rows, int offset, Request request) {
        if (!allFinite(rows, offset)) {
            return StepOutput.NOT_FINITE;
        }
        System.arraycopy(rows, offset, logits, 0, vocabSize);
        if (isMasked(request)) {
            int failure = fillMask(request);
            if (failure < 0) {
                return failure;
            }
            keepOnly(mask);
        }
        for (int i = 0; i < request.biases.length; i++) {
            logits[request.biasedTokenIds[i]] += request.biases[i];
        }
        penalise(request);
        int likeliest = argmax();
        if (logits[likeliest] == Float.NEGATIVE_INFINITY) {
            return StepOutput.NO_TOKEN_LEFT;
        }
        if (!Float.isFinite(logits[likeliest])) {
            return StepOutput.OUT_OF_RANGE; // the model's own were finite
        }
        if (request.draw.temperature() == 0) {
            return likeliest;
        }
        return draw(request.sampling, logits[likeliest], Philox.uniform(request.seed, request.numTokens()));
    }

    /// Whether a row has neither NaN nor infinities.
    boolean allFinite(float[] rows, int offset) {
        float poison = 0;
        for (int i = offset; i < offset + vocabSize; i++) {
            poison += rows[i] * 0f; // 0, but NaN for NaN and for infinities
        }
        return poison == 0;
    }

    /// Fills [#mask] with what may come next.
    ///
    /// @return 0, or the [StepOutput] code of what went wrong
    int fillMask(Request request) {
        boolean mustEnd = false;
        if (request.matcher == null) {
            Arrays.fill(mask, -1);
        } else {
            int failure = fillMask(request, request.matcher);
            if (failure < 0) {
                return failure;
            }
            mustEnd = request.numOutputTokens() < request.sampling.minTokens() && allowsEndsOnly(request);
        }
        if (request.allowedTokens != null) {
            for (int word = 0; word < mask.length; word++) {
                mask[word] &= word < request.allowedTokens.length ? request.allowedTokens[word] : 0;
            }
        }
        maskBadWords(request);
        if (!mustEnd) {
            maskStopTokens(request);
        }
        return 0;
    }

    /// One bit a token id that may come, as [#fillMask] left it.
    long[] mask() {
        return mask;
    }

    private void mask(int token) {
        mask[token >>> 6] &= ~(1L << token);
    }

    private int fillMask(Request request, TokenConstraint.Matcher matcher) {
        try {
            return matcher.fillMask(mask) ? 0 : StepOutput.DEAD_END;
        } catch (RuntimeException | StackOverflowError e) {
            LOG.error("request {}: the constraint of its output failed", request.id, e);
            return StepOutput.CONSTRAINT_FAILED;
        }
    }

    private void keepOnly(long[] allowed) {
        for (int from = 0, word = 0; from < vocabSize; from += Long.SIZE, word++) {
            long bits = allowed[word];
            int to = Math.min(from + Long.SIZE, vocabSize);
            if (bits == 0) {
                Arrays.fill(logits, from, to, Float.NEGATIVE_INFINITY);
            } else if (bits != -1) {
                for (int i = from; i < to; i++) {
                    logits[i] = (bits >>> i & 1) != 0 ? logits[i] : Float.NEGATIVE_INFINITY;
                }
            }
        }
    }

    /// Whether all tokens that the constraint allows end the request. Only before `minTokens`, so it may be slow.
    private boolean allowsEndsOnly(Request request) {
        for (int i = 0; i < vocabSize; i++) {
            if ((mask[i >>> 6] >>> i & 1) != 0 && !request.isEnd(i)) {
                return false;
            }
        }
        return true;
    }

    /// Masks the last token of each bad word whose other tokens are the end of the output.
    private void maskBadWords(Request request) {
        int[] tokens = request.tokens();
        for (int[] word : request.badWords) {
            int prefix = word.length - 1;
            int from = request.numTokens() - prefix;
            if (from >= request.promptTokens && Arrays.equals(tokens, from, from + prefix, word, 0, prefix)) {
                mask(word[prefix]);
            }
        }
    }

    private void maskStopTokens(Request request) {
        if (request.numOutputTokens() < request.sampling.minTokens()) {
            for (int token : request.eosTokenIds) {
                mask(token);
            }
            for (int token : request.stopTokenIds) {
                mask(token);
            }
        }
    }

    private void penalise(Request request) {
        int[] tokens = request.tokens();
        float repetition = request.sampling.repetitionPenalty();
        if (repetition != 1) {
            for (int i = 0; i < request.numTokens(); i++) {
                int token = tokens[i];
                if (counts[token]++ == 0) {
                    logits[token] = logits[token] > 0 ? logits[token] / repetition : logits[token] * repetition;
                }
            }
            for (int i = 0; i < request.numTokens(); i++) {
                counts[tokens[i]] = 0;
            }
        }
        float frequency = request.sampling.frequencyPenalty();
        float presence = request.sampling.presencePenalty();
        if (frequency != 0 || presence != 0) {
            for (int i = request.promptTokens; i < request.numTokens(); i++) {
                counts[tokens[i]]++;
            }
            for (int i = request.promptTokens; i < request.numTokens(); i++) {
                int token = tokens[i];
                if (counts[token] > 0) {
                    logits[token] -= frequency * counts[token] + presence;
                    counts[token] = 0;
                }
            }
        }
    }

    private int argmax() {
        int best = 0;
        for (int i = 1; i < vocabSize; i++) {
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        return best;
    }

    private int draw(SamplingParams params, float highest, double uniform) {
        double total = 0;
        for (int i = 0; i < vocabSize; i++) {
            double weight = StrictMath.exp(((double) logits[i] - highest) / params.temperature());
            weights[i] = weight >= params.minP() ? weight : 0;
            total += weights[i];
        }
        boolean topK = params.topK() > 0 && params.topK() < vocabSize;
        if (!topK && params.topP() >= 1) {
            return invert(uniform * total);
        }
        gather(params, highest, topK ? params.topK() : Integer.MAX_VALUE, params.topP() * total);
        int limit = topK ? Math.min(params.topK(), candidates.size()) : candidates.size();
        // With both, top-p cuts the mass of the top-k candidates.
        double mass = topK ? weightOfBest(limit) : total;
        double nucleus = 0;
        int n = 0;
        while (n < limit && (n == 0 || nucleus < params.topP() * mass)) {
            nucleus += weights[candidates.ranked(n++)];
        }
        double target = uniform * nucleus;
        double cumulated = 0;
        for (int i = 0; i < n - 1; i++) {
            int token = candidates.ranked(i);
            cumulated += weights[token];
            if (cumulated > target) {
                return token;
            }
        }
        return candidates.ranked(n - 1);
    }

    private double weightOfBest(int count) {
        double sum = 0;
        for (int i = 0; i < count; i++) {
            sum += weights[candidates.ranked(i)];
        }
        return sum;
    }

    /// The first token, in order of ids, at which the cumulated weight exceeds `target`.
    private int invert(double target) {
        double cumulated = 0;
        int last = 0;
        for (int i = 0; i < vocabSize; i++) {
            if (weights[i] > 0) {
                cumulated += weights[i];
                last = i;
                if (cumulated > target) {
                    return i;
                }
            }
        }
        return last;
    }

    /// Collects all tokens above some logit, enough of them that the `limit` likeliest, or the likeliest ones
    /// that weigh `mass` together, are among them: sorting a whole vocabulary for each token costs more than
    /// the rest of sampling.
    private void gather(SamplingParams params, float highest, int limit, double mass) {
        for (double reach = FIRST_REACH; ; reach *= reach) {
            double lowest = highest - reach * params.temperature();
            candidates.clear();
            int weighty = 0;
            double gathered = 0;
            for (int i = 0; i < vocabSize; i++) {
                if (weights[i] > 0) {
                    weighty++;
                    if (logits[i] >= lowest) {
                        candidates.add(logits[i], i);
                        gathered += weights[i];
                    }
                }
            }
            // The sum runs in another order than the total: a rounding error must not cut a candidate off.
            boolean enough = limit == Integer.MAX_VALUE ? gathered > mass * (1 + 1e-9) : candidates.size() >= limit;
            if (enough || candidates.size() == weighty) {
                return;
            }
        }
    }

    /// The log-probability of a token and of the `count` likeliest ones under the model's own logits.
    TokenLogprobs logprobs(float[] rows, int offset, int token, int count) {
        int[] topIds = new int[Math.min(count, vocabSize)];
        float[] topLogits = new float[topIds.length];
        int found = 0;
        int rank = 1;
        float chosen = rows[offset + token];
        float highest = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < vocabSize; i++) {
            float logit = rows[offset + i];
            highest = Math.max(highest, logit);
            rank += logit > chosen || (logit == chosen && i < token) ? 1 : 0;
            if (found < topIds.length || (found > 0 && logit > topLogits[found - 1])) {
                int at = found < topIds.length ? found++ : found - 1;
                for (; at > 0 && topLogits[at - 1] < logit; at--) {
                    topLogits[at] = topLogits[at - 1];
                    topIds[at] = topIds[at - 1];
                }
                topLogits[at] = logit;
                topIds[at] = i;
            }
        }
        double sum = 0;
        for (int i = 0; i < vocabSize; i++) {
            sum += StrictMath.exp((double) rows[offset + i] - highest);
        }
        double normaliser = highest + StrictMath.log(sum);
        for (int i = 0; i < found; i++) {
            topLogits[i] = (float) (topLogits[i] - normaliser);
        }
        return new TokenLogprobs((float) (chosen - normaliser), rank, topIds, topLogits);
    }
}
