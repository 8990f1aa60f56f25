package dev.baton.openai;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;

/// How a request wants its tokens drawn.
///
/// @param topK 0 or -1 for all
/// @param logitBias token id to what is added to its logit
/// @param allowedTokenIds the only tokens that may be drawn; empty: all
/// @param badWords texts that must not come about in the output
/// @param structuredOutput what the output must look like, if anything
public record SamplingOptions(
        OptionalDouble temperature,
        OptionalDouble topP,
        OptionalInt topK,
        OptionalDouble minP,
        OptionalDouble repetitionPenalty,
        double presencePenalty,
        double frequencyPenalty,
        OptionalLong seed,
        Map<Integer, Float> logitBias,
        Optional<List<Integer>> allowedTokenIds,
        List<String> badWords,
        Optional<StructuredOutput> structuredOutput) {

    /// vLLM's `VLLM_MAX_NUM_BAD_WORDS`.
    private static final int MAX_BAD_WORDS = 1000;

    /// A lower temperature is greedy.
    private static final double GREEDY = 1e-5;

    static SamplingOptions read(Fields fields) {
        return new SamplingOptions(
                fields.number("temperature"),
                fields.number("top_p"),
                fields.integer("top_k"),
                fields.number("min_p"),
                fields.number("repetition_penalty"),
                fields.number("presence_penalty").orElse(0),
                fields.number("frequency_penalty").orElse(0),
                fields.longInteger("seed"),
                fields.integerToNumber("logit_bias"),
                fields.has("allowed_token_ids") ? Optional.of(fields.integers("allowed_token_ids")) : Optional.empty(),
                fields.strings("bad_words", MAX_BAD_WORDS),
                StructuredOutput.read(fields));
    }

    /// The same with another constraint.
    SamplingOptions withStructuredOutput(Optional<StructuredOutput> other) {
        return new SamplingOptions(
                temperature,
                topP,
                topK,
                minP,
                repetitionPenalty,
                presencePenalty,
                frequencyPenalty,
                seed,
                logitBias,
                allowedTokenIds,
                badWords,
                other);
    }

    /// The same with a seed.
    SamplingOptions withSeed(long given) {
        return new SamplingOptions(
                temperature,
                topP,
                topK,
                minP,
                repetitionPenalty,
                presencePenalty,
                frequencyPenalty,
                OptionalLong.of(given),
                logitBias,
                allowedTokenIds,
                badWords,
                structuredOutput);
    }

    /// @param n choices that the request asks for
    void checkRanges(int n) {
        Ranges.inRange("presence_penalty", presencePenalty, -2, 2);
        Ranges.inRange("frequency_penalty", frequencyPenalty, -2, 2);
        // The sampler computes in single precision: what is checked is what is left of a number there.
        repetitionPenalty.ifPresent(value -> {
            if ((float) value <= 0) {
                throw Ranges.bad("repetition_penalty must be greater than zero, got " + value + ".");
            }
            Ranges.requireSinglePrecision("repetition_penalty", value);
        });
        temperature.ifPresent(value -> {
            if (value < 0) {
                throw Ranges.badValue("temperature must be non-negative, got " + value + ".", "temperature", value);
            }
            if (value > 2) {
                throw Ranges.badValue("temperature must be in [0, 2], got " + value + ".", "temperature", value);
            }
            if (value < GREEDY && n > 1) {
                throw Ranges.bad("n must be 1 when using greedy sampling, got " + n + ".");
            }
        });
        topP.ifPresent(value -> {
            if ((float) value <= 0 || value > 1) {
                throw Ranges.badValue("top_p must be in (0, 1], got " + value + ".", "top_p", value);
            }
        });
        topK.ifPresent(value -> {
            if (value < -1) {
                throw Ranges.bad("top_k must be 0 (disable), or at least 1, got " + value + ".");
            }
        });
        minP.ifPresent(value -> Ranges.inRange("min_p", value, 0, 1));
        if (allowedTokenIds.isPresent() && allowedTokenIds.get().isEmpty()) {
            throw Ranges.badValue("allowed_token_ids is not None and empty!", "allowed_token_ids", "[]");
        }
        if (badWords.contains("")) {
            throw Ranges.bad("bad_words cannot contain an empty string. Got bad_words=" + badWords);
        }
    }
}
