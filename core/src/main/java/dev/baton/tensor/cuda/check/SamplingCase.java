package dev.baton.tensor.cuda.check;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;

/// One choice of a token, and what it must be: the order of operations of [dev.baton.tensor.cuda.CudaSampler] in
/// the plainest way, with everything sorted and sums in double precision.
///
/// @param temperature 0 for the likeliest token
/// @param topK number of candidates, 0 for all
/// @param topP share of the candidates' probability, 1 for all
/// @param minP smallest probability relative to the likeliest token's
/// @param uniform the random number of the draw, in [0, 1)
/// @param mask one bit a token that may come, if not all may
/// @param biasedTokens tokens that have a bias
/// @param biases of these
/// @param repetition 1 for none
/// @param frequency 0 for none
/// @param presence 0 for none
/// @param tokens of the sequence, the prompt's first
/// @param promptTokens how many of them are the prompt's
public record SamplingCase(
        float temperature,
        int topK,
        float topP,
        float minP,
        double uniform,
        Optional<long[]> mask,
        int[] biasedTokens,
        float[] biases,
        float repetition,
        float frequency,
        float presence,
        int[] tokens,
        int promptTokens) {
    private static final int NOT_FINITE = -1;
    private static final int NONE_LEFT = -2;
    private static final int OUT_OF_RANGE = -3;

    /// A case without mask, biases and penalties, and 0 for its random number.
    public static SamplingCase of(float temperature, int topK, float topP, float minP) {
        return new SamplingCase(
                temperature, topK, topP, minP, 0, Optional.empty(), new int[0], new float[0], 1, 0, 0, new int[0], 0);
    }

    /// The token of a row of logits; below 0 if there is none.
    public int token(float[] logits) {
        for (float logit : logits) {
            if (!Float.isFinite(logit)) {
                return NOT_FINITE;
            }
        }
        float[] adjusted = adjusted(logits);
        int[] order = order(adjusted);
        float highest = adjusted[order[0]];
        if (!Float.isFinite(highest)) {
            return highest == Float.NEGATIVE_INFINITY ? NONE_LEFT : OUT_OF_RANGE;
        }
        if (temperature == 0) {
            return order[0];
        }
        int[] kept = kept(adjusted, order);
        boolean isTopK = topK > 0 && topK < logits.length;
        if (!isTopK && topP == 1) {
            Arrays.sort(kept);
        }
        double target = uniform * sum(adjusted, highest, kept);
        double sum = 0;
        for (int token : kept) {
            sum += weight(adjusted[token], highest);
            if (sum > target) {
                return token;
            }
        }
        return kept[kept.length - 1];
    }

    /// The probability of each token that may be drawn, for logits that are finite.
    public double[] probabilities(float[] logits) {
        float[] adjusted = adjusted(logits);
        int[] order = order(adjusted);
        float highest = adjusted[order[0]];
        int[] kept = kept(adjusted, order);
        double sum = sum(adjusted, highest, kept);
        double[] probabilities = new double[logits.length];
        for (int token : kept) {
            probabilities[token] = weight(adjusted[token], highest) / sum;
        }
        return probabilities;
    }

    private float[] adjusted(float[] logits) {
        float[] adjusted = logits.clone();
        mask.ifPresent(bits -> {
            for (int token = 0; token < adjusted.length; token++) {
                adjusted[token] = (bits[token / 64] >>> token & 1) == 1 ? adjusted[token] : Float.NEGATIVE_INFINITY;
            }
        });
        for (int i = 0; i < biases.length; i++) {
            adjusted[biasedTokens[i]] += biases[i];
        }
        Set<Integer> seen = new HashSet<>();
        int[] times = new int[adjusted.length];
        for (int i = 0; i < tokens.length; i++) {
            int token = tokens[i];
            times[token] += i < promptTokens ? 0 : 1;
            if (seen.add(token)) {
                adjusted[token] = adjusted[token] > 0 ? adjusted[token] / repetition : adjusted[token] * repetition;
            }
        }
        for (int token = 0; token < adjusted.length; token++) {
            adjusted[token] -= times[token] > 0 ? frequency * times[token] + presence : 0;
        }
        return adjusted;
    }

    /// Tokens by their logits, the highest first, the lowest of equal ones first.
    private static int[] order(float[] logits) {
        long[] keys = new long[logits.length];
        for (int token = 0; token < keys.length; token++) {
            int bits = Float.floatToRawIntBits(logits[token] + 0f); // -0 becomes 0
            keys[token] = (long) ~(bits ^ ((bits >> 31) & Integer.MAX_VALUE)) << 32 | token;
        }
        Arrays.sort(keys);
        return Arrays.stream(keys).mapToInt(key -> (int) key).toArray();
    }

    private double weight(float logit, float highest) {
        double weight = Math.exp(((double) logit - highest) / temperature);
        return weight >= minP ? weight : 0;
    }

    private double sum(float[] logits, float highest, int[] tokens) {
        return Arrays.stream(tokens)
                .mapToDouble(token -> weight(logits[token], highest))
                .sum();
    }

    private int[] kept(float[] logits, int[] order) {
        float highest = logits[order[0]];
        int[] candidates = Arrays.stream(order)
                .filter(token -> weight(logits[token], highest) > 0)
                .limit(topK > 0 ? topK : logits.length)
                .toArray();
        double mass = sum(logits, highest, candidates);
        int count = 0;
        double sum = 0;
        while (count < candidates.length && (count == 0 || topP == 1 || sum < topP * mass)) {
            sum += weight(logits[candidates[count++]], highest);
        }
        return Arrays.copyOf(candidates, count);
    }
}
