package dev.baton.openai;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/// The fields that completion and chat requests share: how to sample, when to stop, what to return. Values are
/// checked against vLLM's ranges; what is empty was not in the request, and the model's defaults apply.
///
/// @param n choices for each prompt
/// @param maxTokens most tokens to generate; empty: as many as the context holds
/// @param topK 0 for all
/// @param stop texts that end the generation
/// @param logprobs number of likeliest tokens to report with each token; empty: no log-probabilities
/// @param truncatePromptTokens keep only that many last tokens of the prompt; -1: as many as the context holds
/// @param kvTransferParams what the request says about its hand-off, unread
public record GenerationOptions(
        int n,
        OptionalInt maxTokens,
        int minTokens,
        OptionalDouble temperature,
        OptionalDouble topP,
        OptionalInt topK,
        OptionalDouble minP,
        OptionalDouble repetitionPenalty,
        double presencePenalty,
        double frequencyPenalty,
        OptionalLong seed,
        List<String> stop,
        List<Integer> stopTokenIds,
        boolean includeStopStrInOutput,
        boolean ignoreEos,
        Map<Integer, Float> logitBias,
        OptionalInt logprobs,
        boolean skipSpecialTokens,
        boolean addSpecialTokens,
        OptionalInt truncatePromptTokens,
        boolean stream,
        StreamOptions streamOptions,
        boolean returnTokenIds,
        boolean returnTokensAsTokenIds,
        Optional<String> requestId,
        Optional<ObjectNode> kvTransferParams) {

    /// Most log-probabilities a token, as vLLM's `--max-logprobs`.
    public static final int MAX_LOGPROBS = 20;

    /// Most stop texts in a request, as in the API.
    public static final int MAX_STOPS = 4;

    /// Most choices for each prompt.
    public static final int MAX_N = 128;

    private static final int MAX_STOP_TOKEN_IDS = 100_000;
    private static final int MAX_STOP_CHARACTERS = 4096;

    /// Reads the shared fields.
    ///
    /// @param maxTokens already taken from the field that the API in question names
    /// @param logprobs the same
    static GenerationOptions read(
            Fields fields, OptionalInt maxTokens, OptionalInt logprobs, boolean addSpecialTokensDefault) {
        boolean stream = fields.flag("stream", false);
        Optional<Fields> streamFields = fields.nested("stream_options");
        StreamOptions streamOptions = streamFields
                .map(f -> new StreamOptions(f.flag("include_usage", false), f.flag("continuous_usage_stats", false)))
                .orElse(StreamOptions.NONE);
        GenerationOptions options = new GenerationOptions(
                fields.integer("n").orElse(1),
                maxTokens,
                fields.integer("min_tokens").orElse(0),
                fields.number("temperature"),
                fields.number("top_p"),
                fields.integer("top_k"),
                fields.number("min_p"),
                fields.number("repetition_penalty"),
                fields.number("presence_penalty").orElse(0),
                fields.number("frequency_penalty").orElse(0),
                fields.longInteger("seed"),
                fields.strings("stop", MAX_STOPS),
                fields.integers("stop_token_ids"),
                fields.flag("include_stop_str_in_output", false),
                fields.flag("ignore_eos", false),
                fields.integerToNumber("logit_bias"),
                logprobs,
                fields.flag("skip_special_tokens", true),
                fields.flag("add_special_tokens", addSpecialTokensDefault),
                fields.integer("truncate_prompt_tokens"),
                stream,
                streamOptions,
                fields.flag("return_token_ids", false),
                fields.flag("return_tokens_as_token_ids", false),
                fields.string("request_id"),
                fields.dict("kv_transfer_params"));
        fields.check();
        if (streamFields.isPresent() && !stream) {
            throw new ApiException(ApiError.badRequest(
                    "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
                    "stream_options"));
        }
        refuseUnbuilt(fields);
        options.checkRanges();
        return options;
    }

    /// A field that would change the output is never passed over in silence.
    private static void refuseUnbuilt(Fields fields) {
        for (String name : List.of("use_beam_search", "echo", "watermarking", "return_token_offsets")) {
            refuseIf(fields.flag(name, false), name);
        }
        for (String name : List.of(
                "prompt_logprobs",
                "structured_outputs",
                "guided_json",
                "guided_regex",
                "guided_choice",
                "guided_grammar",
                "allowed_token_ids",
                "logprob_token_ids",
                "repetition_detection",
                "thinking_token_budget",
                "cache_salt",
                "ec_transfer_params",
                "prompt_embeds",
                "functions",
                "function_call")) {
            refuseIf(fields.has(name), name);
        }
        for (String name : List.of("bad_words", "logits_processors")) {
            refuseIf(fields.list(name).filter(list -> !list.isEmpty()).isPresent(), name);
        }
        refuseIf(fields.dict("vllm_xargs").filter(args -> !args.isEmpty()).isPresent(), "vllm_xargs");
        refuseIf(fields.integer("priority").orElse(0) != 0, "priority");
        refuseIf(fields.number("length_penalty").orElse(1) != 1, "length_penalty");
        refuseIf(
                fields.string("truncation_side")
                        .filter(side -> !side.equals("left"))
                        .isPresent(),
                "truncation_side");
        Optional<Fields> format = fields.nested("response_format");
        refuseIf(format.isPresent() && !format.get().string("type").orElse("").equals("text"), "response_format");
        int bestOf = fields.integer("best_of").orElse(1);
        refuseIf(bestOf != 1 && bestOf != fields.integer("n").orElse(1), "best_of");
        fields.check();
    }

    private static void refuseIf(boolean asksForIt, String name) {
        if (asksForIt) {
            throw new ApiException(ApiError.notImplemented(name));
        }
    }

    private void checkRanges() {
        if (n < 1) {
            throw bad("n must be at least 1, got " + n + ".");
        }
        if (n > MAX_N) {
            throw bad("n must be at most " + MAX_N + ", got " + n + ".");
        }
        inRange("presence_penalty", presencePenalty, -2, 2);
        inRange("frequency_penalty", frequencyPenalty, -2, 2);
        // The sampler computes in single precision: what is checked is what is left of a number there.
        repetitionPenalty.ifPresent(value -> {
            if ((float) value <= 0) {
                throw bad("repetition_penalty must be greater than zero, got " + value + ".");
            }
            requireSinglePrecision("repetition_penalty", value);
        });
        temperature.ifPresent(value -> {
            if (value < 0) {
                throw badValue("temperature must be non-negative, got " + value + ".", "temperature", value);
            }
            requireSinglePrecision("temperature", value);
        });
        topP.ifPresent(value -> {
            if ((float) value <= 0 || value > 1) {
                throw badValue("top_p must be in (0, 1], got " + value + ".", "top_p", value);
            }
        });
        topK.ifPresent(value -> {
            if (value < -1) {
                throw bad("top_k must be 0 (disable), or at least 1, got " + value + ".");
            }
        });
        minP.ifPresent(value -> inRange("min_p", value, 0, 1));
        maxTokens.ifPresent(value -> {
            if (value < 1) {
                throw badValue("max_tokens must be at least 1, got " + value + ".", "max_tokens", value);
            }
            if (minTokens > value) {
                throw badValue(
                        "min_tokens must be less than or equal to max_tokens=" + value + ", got " + minTokens + ".",
                        "min_tokens",
                        minTokens);
            }
        });
        if (minTokens < 0) {
            throw badValue(
                    "min_tokens must be greater than or equal to 0, got " + minTokens + ".", "min_tokens", minTokens);
        }
        logprobs.ifPresent(value -> {
            if (value > MAX_LOGPROBS) {
                throw badValue(
                        "Requested sample logprobs of " + value + ", which is greater than max allowed: "
                                + MAX_LOGPROBS,
                        "logprobs",
                        value);
            }
        });
        if (stop.contains("")) {
            throw bad("stop cannot contain an empty string.");
        }
        for (String text : stop) {
            if (text.length() > MAX_STOP_CHARACTERS) {
                throw new ApiException(ApiError.badRequest(
                        "stop texts must have at most " + MAX_STOP_CHARACTERS + " characters, got " + text.length()
                                + ".",
                        "stop"));
            }
        }
        if (stopTokenIds.size() > MAX_STOP_TOKEN_IDS) {
            throw new ApiException(ApiError.badRequest(
                    "stop_token_ids must have at most " + MAX_STOP_TOKEN_IDS + " items, got " + stopTokenIds.size()
                            + ".",
                    "stop_token_ids"));
        }
        truncatePromptTokens.ifPresent(value -> {
            if (value < -1) {
                throw bad("truncate_prompt_tokens must be an integer >= -1, got " + value + ".");
            }
        });
        requestId.ifPresent(GenerationOptions::requireUsableId);
    }

    private static void requireUsableId(String id) {
        if (!RequestIds.isUsable(id)) {
            throw new ApiException(ApiError.badRequest(
                    "request_id must be 1 to " + RequestIds.MAX_CHARACTERS
                            + " printable ASCII characters without spaces.",
                    "request_id"));
        }
    }

    private static void requireSinglePrecision(String name, double value) {
        if (!Float.isFinite((float) value)) {
            throw badValue(name + " must be at most " + Float.MAX_VALUE + ", got " + value + ".", name, value);
        }
    }

    private static void inRange(String name, double value, int low, int high) {
        if (value < low || value > high) {
            throw bad(name + " must be in [" + low + ", " + high + "], got " + value + ".");
        }
    }

    private static ApiException bad(String message) {
        return new ApiException(ApiError.badRequest(message));
    }

    private static ApiException badValue(String message, String param, Object value) {
        return new ApiException(ApiError.badParameter(message, param, value));
    }
}
