package dev.baton.engine;

import dev.baton.engine.RequestOutput.TokenLogprobs;

/// Chooses the next token from a row of logits, by vLLM's definitions and in vLLM's order: stop tokens masked
/// before `minTokens`, logit bias, repetition, frequency and presence penalty, then greedy, or temperature,
/// min-p, top-k, top-p and one draw.
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
    /// Temperatures below are greedy, as in vLLM.
    private static final float GREEDY_BELOW = 1e-5f;

    /// How far below the likeliest candidate the first look for top-k and top-p reaches, in units of the
    /// temperature.
    private static final double FIRST_REACH = 8;

    private final int vocabSize;
    private final float[] logits; // (vocabSize), a copy to change
    private final double[] weights; // (vocabSize), exp((logit - highest) / temperature)
    private final Candidates candidates;
    private final int[] counts; // (vocabSize), all 0 between calls

    Sampler(int vocabSize) {
        this.vocabSize = vocabSize;
        this.logits = new float[vocabSize];
        this.weights = new double[vocabSize];
        this.candidates = new Candidates(vocabSize);
        this.counts = new int[vocabSize];
    }

    /// The next token of a request.
    ///
    /// @param rows logits as the model wrote them, not changed
    /// @param offset where the request's row begins
    /// @return a token id, or [StepOutput#NOT_FINITE] if a logit is NaN or infinite or if no token is left to
    ///     choose
    int sample(float[] rows, int offset, Request request) {
        if (!allFinite(rows, offset)) {
            return StepOutput.NOT_FINITE;
        }
        System.arraycopy(rows, offset, logits, 0, vocabSize);
        maskStopTokens(request);
        for (int i = 0; i < request.biases.length; i++) {
            logits[request.biasedTokenIds[i]] += request.biases[i];
        }
        penalise(request);
        int likeliest = argmax();
        if (!Float.isFinite(logits[likeliest])) {
            return StepOutput.NOT_FINITE;
        }
        if (request.sampling.temperature() < GREEDY_BELOW) {
            return likeliest;
        }
        return draw(request.sampling, logits[likeliest], Philox.uniform(request.seed, request.numTokens()));
    }

    private boolean allFinite(float[] rows, int offset) {
        float poison = 0;
        for (int i = offset; i < offset + vocabSize; i++) {
            poison += rows[i] * 0f; // 0, but NaN for NaN and for infinities
        }
        return poison == 0;
    }

    private void maskStopTokens(Request request) {
        if (request.numOutputTokens() < request.sampling.minTokens()) {
            for (int token : request.eosTokenIds) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
            for (int token : request.stopTokenIds) {
                logits[token] = Float.NEGATIVE_INFINITY;
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
