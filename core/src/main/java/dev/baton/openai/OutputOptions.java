package dev.baton.openai;

import java.util.OptionalInt;

/// What a request wants to see of its output, and in which form.
///
/// @param logprobs number of likeliest tokens to report with each token; empty: no log-probabilities
/// @param promptLogprobs the same for each token of the prompt but the first
/// @param echo whether the prompt is repeated before the output; in a chat, the last message if its role is the
///     answer's
/// @param returnPromptText whether a chat's answer says what the template made of the messages
public record OutputOptions(
        boolean stream,
        StreamOptions streamOptions,
        OptionalInt logprobs,
        OptionalInt promptLogprobs,
        boolean echo,
        boolean skipSpecialTokens,
        boolean returnTokenIds,
        boolean returnTokensAsTokenIds,
        boolean returnPromptText) {

    /// Most log-probabilities a token, as vLLM's `--max-logprobs`.
    public static final int MAX_LOGPROBS = 20;

    static OutputOptions read(Fields fields, OptionalInt logprobs) {
        boolean stream = fields.flag("stream", false);
        boolean echo = fields.flag("echo", false);
        StreamOptions streamOptions = fields.nested("stream_options")
                .map(f -> new StreamOptions(f.flag("include_usage", false), f.flag("continuous_usage_stats", false)))
                .orElse(StreamOptions.NONE);
        return new OutputOptions(
                stream,
                streamOptions,
                logprobs,
                promptLogprobs(fields, stream, echo, logprobs),
                echo,
                fields.flag("skip_special_tokens", true),
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false),
                fields.flag("return_prompt_text", false));
    }

    /// The same with special tokens in the text.
    OutputOptions withSpecialTokens() {
        return new OutputOptions(
                stream,
                streamOptions,
                logprobs,
                promptLogprobs,
                echo,
                false,
                returnTokenIds,
                returnTokensAsTokenIds,
                returnPromptText);
    }

    /// A prompt that is repeated is shown with log-probabilities as the output is.
    private static OptionalInt promptLogprobs(Fields fields, boolean stream, boolean echo, OptionalInt logprobs) {
        OptionalInt wanted = fields.integer("prompt_logprobs");
        if (wanted.isEmpty()) {
            return echo ? logprobs : OptionalInt.empty();
        }
        int count = wanted.getAsInt();
        if (stream && (count > 0 || count == -1)) {
            throw new ApiException(ApiError.badRequest(
                    "`prompt_logprobs` are not available when `stream=True`. (parameter=prompt_logprobs)",
                    "prompt_logprobs"));
        }
        if (count < -1) {
            throw Ranges.badValue("`prompt_logprobs` must be a positive value or -1.", "prompt_logprobs", count);
        }
        return wanted;
    }

    /// -1 stands for the whole vocabulary, which is more than is allowed.
    ///
    /// @param vocabSize number of token ids that the model takes
    /// @throws ApiException if more log-probabilities are wanted than allowed
    public void checkLogprobs(int vocabSize) {
        checkLogprobs("sample logprobs", "logprobs", logprobs, vocabSize);
        checkLogprobs("prompt logprobs", "prompt_logprobs", promptLogprobs, vocabSize);
    }

    private static void checkLogprobs(String what, String param, OptionalInt wanted, int vocabSize) {
        int count = wanted.orElse(0) == -1 ? vocabSize : wanted.orElse(0);
        if (count > MAX_LOGPROBS) {
            throw Ranges.badValue(
                    "Requested " + what + " of " + count + ", which is greater than max allowed: " + MAX_LOGPROBS,
                    param,
                    count);
        }
    }
}
