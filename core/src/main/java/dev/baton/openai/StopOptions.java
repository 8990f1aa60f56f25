package dev.baton.openai;

import java.util.List;
import java.util.OptionalInt;

/// When a request wants its output to end, beside `max_tokens`.
///
/// @param minTokens tokens before anything but `max_tokens` may end it
/// @param texts texts that end it, `stop`
/// @param tokenIds tokens that end it, `stop_token_ids`
/// @param includeStopStrInOutput whether the text that ended it is shown
/// @param ignoreEos whether end-of-sequence tokens are ordinary ones
public record StopOptions(
        int minTokens, List<String> texts, List<Integer> tokenIds, boolean includeStopStrInOutput, boolean ignoreEos) {

    /// Most stop texts in a request, as in the API.
    public static final int MAX_TEXTS = 4;

    private static final int MAX_TOKEN_IDS = 100_000;
    private static final int MAX_CHARACTERS = 4096;

    static StopOptions read(Fields fields) {
        return new StopOptions(
                fields.integer("min_tokens").orElse(0),
                fields.strings("stop", MAX_TEXTS),
                fields.integers("stop_token_ids"),
                fields.flag("include_stop_str_in_output", false),
                fields.flag("ignore_eos", false));
    }

    void checkRanges(OptionalInt maxTokens) {
        if (minTokens < 0) {
            throw Ranges.bad("min_tokens must be greater than or equal to 0, got " + minTokens + ".");
        }
        if (maxTokens.isPresent() && minTokens > maxTokens.getAsInt()) {
            throw Ranges.bad("min_tokens must be less than or equal to max_tokens=" + maxTokens.getAsInt() + ", got "
                    + minTokens + ".");
        }
        if (texts.contains("")) {
            throw Ranges.bad("stop cannot contain an empty string.");
        }
        for (String text : texts) {
            if (text.length() > MAX_CHARACTERS) {
                throw new ApiException(ApiError.badRequest(
                        "stop texts must have at most " + MAX_CHARACTERS + " characters, got " + text.length() + ".",
                        "stop"));
            }
        }
        if (tokenIds.size() > MAX_TOKEN_IDS) {
            throw new ApiException(ApiError.badRequest(
                    "stop_token_ids must have at most " + MAX_TOKEN_IDS + " items, got " + tokenIds.size() + ".",
                    "stop_token_ids"));
        }
    }
}
