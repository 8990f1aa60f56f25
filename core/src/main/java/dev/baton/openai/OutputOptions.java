package dev.baton.openai;

import java.util.OptionalInt;

/// What a request wants to see of its output, and in which form.
///
/// @param logprobs number of likeliest tokens to report with each token; empty: no log-probabilities
public record OutputOptions(
        boolean stream,
        StreamOptions streamOptions,
        OptionalInt logprobs,
        boolean skipSpecialTokens,
        boolean returnTokenIds,
        boolean returnTokensAsTokenIds) {

    /// Most log-probabilities a token, as vLLM's `--max-logprobs`.
    public static final int MAX_LOGPROBS = 20;

    static OutputOptions read(Fields fields, OptionalInt logprobs) {
        StreamOptions streamOptions = fields.nested("stream_options")
                .map(f -> new StreamOptions(f.flag("include_usage", false), f.flag("continuous_usage_stats", false)))
                .orElse(StreamOptions.NONE);
        return new OutputOptions(
                fields.flag("stream", false),
                streamOptions,
                logprobs,
                fields.flag("skip_special_tokens", true),
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false));
    }

    void checkRanges() {
        logprobs.ifPresent(value -> {
            if (value > MAX_LOGPROBS) {
                throw Ranges.badValue(
                        "Requested sample logprobs of " + value + ", which is greater than max allowed: "
                                + MAX_LOGPROBS,
                        "logprobs",
                        value);
            }
        });
    }
}
