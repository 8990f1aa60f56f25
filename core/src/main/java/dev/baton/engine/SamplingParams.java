package dev.baton.engine;

import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// How the next token is chosen and when generation ends, in vLLM's terms. Immutable.
///
/// @param temperature 0 means greedy
/// @param topP nucleus probability in (0, 1]
/// @param topK number of candidates, 0 for all
/// @param minP smallest probability relative to the likeliest candidate, in [0, 1]
/// @param seed key of the counter-based generator; empty: the engine draws one
/// @param maxTokens most tokens to generate, at least 1
/// @param minTokens tokens before end-of-sequence and stop tokens may end the request
/// @param ignoreEos whether end-of-sequence tokens are ordinary ones
/// @param stopTokenIds further tokens that end the request
/// @param logprobs number of likeliest tokens to report with each token; empty: none
/// @param logitBias added to a token's logit, token id to bias
public record SamplingParams(
        float temperature,
        float topP,
        int topK,
        float minP,
        float repetitionPenalty,
        float presencePenalty,
        float frequencyPenalty,
        OptionalLong seed,
        int maxTokens,
        int minTokens,
        boolean ignoreEos,
        List<Integer> stopTokenIds,
        OptionalInt logprobs,
        Map<Integer, Float> logitBias) {

    /// @throws IllegalArgumentException that names the field that is out of its range
    public SamplingParams {
        require(temperature >= 0 && Float.isFinite(temperature), "temperature", temperature, "at least 0");
        require(topP > 0 && topP <= 1, "topP", topP, "in (0, 1]");
        require(topK >= 0, "topK", topK, "at least 0");
        require(minP >= 0 && minP <= 1, "minP", minP, "in [0, 1]");
        require(
                repetitionPenalty > 0 && Float.isFinite(repetitionPenalty),
                "repetitionPenalty",
                repetitionPenalty,
                "above 0");
        require(Float.isFinite(presencePenalty), "presencePenalty", presencePenalty, "finite");
        require(Float.isFinite(frequencyPenalty), "frequencyPenalty", frequencyPenalty, "finite");
        require(maxTokens >= 1, "maxTokens", maxTokens, "at least 1");
        require(minTokens >= 0 && minTokens <= maxTokens, "minTokens", minTokens, "in [0, maxTokens]");
        require(logprobs.orElse(0) >= 0, "logprobs", logprobs.orElse(0), "at least 0");
        stopTokenIds = List.copyOf(stopTokenIds);
        logitBias = Map.copyOf(logitBias);
        for (Map.Entry<Integer, Float> bias : logitBias.entrySet()) {
            require(Float.isFinite(bias.getValue()), "logitBias of token " + bias.getKey(), bias.getValue(), "finite");
        }
    }

    private static void require(boolean right, String field, Number value, String range) {
        if (!right) {
            throw new IllegalArgumentException(field + " is " + value + "; it must be " + range);
        }
    }

    /// Greedy decoding of at most `maxTokens` tokens.
    public static SamplingParams greedy(int maxTokens) {
        return new SamplingParams(
                0f,
                1f,
                0,
                0f,
                1f,
                0f,
                0f,
                OptionalLong.empty(),
                maxTokens,
                0,
                false,
                List.of(),
                OptionalInt.empty(),
                Map.of());
    }
}
