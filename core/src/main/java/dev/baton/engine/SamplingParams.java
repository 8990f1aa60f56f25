package dev.baton.engine;

import java.util.List;
import java.util.Map;
import java.util.Optional;
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
/// @param promptLogprobs the same for each token of the prompt but the first; empty: none
/// @param logitBias added to a token's logit, token id to bias
/// @param allowedTokenIds the only tokens that may be drawn; empty: all
/// @param badWords sequences of tokens that must not come about in the output
/// @param constraint what the output must look like, if anything
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
        OptionalInt promptLogprobs,
        Map<Integer, Float> logitBias,
        List<Integer> allowedTokenIds,
        List<List<Integer>> badWords,
        Optional<TokenConstraint> constraint) {

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
        require(promptLogprobs.orElse(0) >= 0, "promptLogprobs", promptLogprobs.orElse(0), "at least 0");
        stopTokenIds = List.copyOf(stopTokenIds);
        logitBias = Map.copyOf(logitBias);
        allowedTokenIds = List.copyOf(allowedTokenIds);
        badWords = badWords.stream().map(List::copyOf).toList();
        for (List<Integer> word : badWords) {
            require(!word.isEmpty(), "the length of one of badWords", 0, "at least 1");
        }
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
        return builder(maxTokens).temperature(0).build();
    }

    /// Everything at its neutral value: the model's own distribution, and no end but end-of-sequence and
    /// `maxTokens`.
    public static Builder builder(int maxTokens) {
        return new Builder(maxTokens);
    }

    /// The same parameters, to change some of them.
    public Builder toBuilder() {
        return new Builder(maxTokens)
                .temperature(temperature)
                .topP(topP)
                .topK(topK)
                .minP(minP)
                .repetitionPenalty(repetitionPenalty)
                .presencePenalty(presencePenalty)
                .frequencyPenalty(frequencyPenalty)
                .seed(seed)
                .minTokens(minTokens)
                .ignoreEos(ignoreEos)
                .stopTokenIds(stopTokenIds)
                .logprobs(logprobs)
                .promptLogprobs(promptLogprobs)
                .logitBias(logitBias)
                .allowedTokenIds(allowedTokenIds)
                .badWords(badWords)
                .constraint(constraint);
    }

    /// Collects sampling parameters; each method is named after the record's component that it sets. Not
    /// thread-safe.
    public static final class Builder {
        private final int maxTokens;
        private float temperature = 1;
        private float topP = 1;
        private int topK;
        private float minP;
        private float repetitionPenalty = 1;
        private float presencePenalty;
        private float frequencyPenalty;
        private OptionalLong seed = OptionalLong.empty();
        private int minTokens;
        private boolean ignoreEos;
        private List<Integer> stopTokenIds = List.of();
        private OptionalInt logprobs = OptionalInt.empty();
        private OptionalInt promptLogprobs = OptionalInt.empty();
        private Map<Integer, Float> logitBias = Map.of();
        private List<Integer> allowedTokenIds = List.of();
        private List<List<Integer>> badWords = List.of();
        private Optional<TokenConstraint> constraint = Optional.empty();

        private Builder(int maxTokens) {
            this.maxTokens = maxTokens;
        }

        public Builder temperature(float value) {
            this.temperature = value;
            return this;
        }

        public Builder topP(float value) {
            this.topP = value;
            return this;
        }

        public Builder topK(int value) {
            this.topK = value;
            return this;
        }

        public Builder minP(float value) {
            this.minP = value;
            return this;
        }

        public Builder repetitionPenalty(float value) {
            this.repetitionPenalty = value;
            return this;
        }

        public Builder presencePenalty(float value) {
            this.presencePenalty = value;
            return this;
        }

        public Builder frequencyPenalty(float value) {
            this.frequencyPenalty = value;
            return this;
        }

        public Builder seed(OptionalLong value) {
            this.seed = value;
            return this;
        }

        public Builder minTokens(int value) {
            this.minTokens = value;
            return this;
        }

        public Builder ignoreEos(boolean value) {
            this.ignoreEos = value;
            return this;
        }

        public Builder stopTokenIds(List<Integer> value) {
            this.stopTokenIds = value;
            return this;
        }

        public Builder logprobs(OptionalInt value) {
            this.logprobs = value;
            return this;
        }

        public Builder promptLogprobs(OptionalInt value) {
            this.promptLogprobs = value;
            return this;
        }

        public Builder logitBias(Map<Integer, Float> value) {
            this.logitBias = value;
            return this;
        }

        public Builder allowedTokenIds(List<Integer> value) {
            this.allowedTokenIds = value;
            return this;
        }

        public Builder badWords(List<List<Integer>> value) {
            this.badWords = value;
            return this;
        }

        public Builder constraint(Optional<TokenConstraint> value) {
            this.constraint = value;
            return this;
        }

        /// The parameters.
        ///
        /// @throws IllegalArgumentException that names the field that is out of its range
        public SamplingParams build() {
            return new SamplingParams(
                    temperature,
                    topP,
                    topK,
                    minP,
                    repetitionPenalty,
                    presencePenalty,
                    frequencyPenalty,
                    seed,
                    maxTokens,
                    minTokens,
                    ignoreEos,
                    stopTokenIds,
                    logprobs,
                    promptLogprobs,
                    logitBias,
                    allowedTokenIds,
                    badWords,
                    constraint);
        }
    }
}
