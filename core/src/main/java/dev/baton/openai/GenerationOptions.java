package dev.baton.openai;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.node.ObjectNode;

/// The fields that completion and chat requests share: how to sample, when to stop, what to return. Values are
/// checked against vLLM's ranges; what is empty was not in the request, and the model's defaults apply.
///
/// @param n choices for each prompt
/// @param maxTokens most tokens to generate; empty: as many as the context holds
/// @param kvTransferParams what the request says about its hand-off, unread
public record GenerationOptions(
        int n,
        OptionalInt maxTokens,
        SamplingOptions sampling,
        StopOptions stop,
        PromptOptions prompt,
        OutputOptions output,
        Optional<String> requestId,
        Optional<ObjectNode> kvTransferParams) {

    /// Most choices for each prompt.
    public static final int MAX_N = 128;

    /// Reads the shared fields.
    ///
    /// @param maxTokens already taken from the field that the API in question names
    /// @param logprobs the same
    static GenerationOptions read(
            Fields fields, OptionalInt maxTokens, OptionalInt logprobs, boolean addSpecialTokensDefault) {
        GenerationOptions options = new GenerationOptions(
                fields.integer("n").orElse(1),
                maxTokens,
                SamplingOptions.read(fields),
                StopOptions.read(fields),
                PromptOptions.read(fields, addSpecialTokensDefault),
                OutputOptions.read(fields, logprobs),
                fields.string("request_id"),
                fields.dict("kv_transfer_params"));
        fields.check();
        if (fields.has("stream_options") && !options.output.stream()) {
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
            throw Ranges.bad("n must be at least 1, got " + n + ".");
        }
        if (n > MAX_N) {
            throw Ranges.bad("n must be at most " + MAX_N + ", got " + n + ".");
        }
        sampling.checkRanges();
        maxTokens.ifPresent(value -> {
            if (value < 1) {
                throw Ranges.badValue("max_tokens must be at least 1, got " + value + ".", "max_tokens", value);
            }
        });
        stop.checkRanges(maxTokens);
        output.checkRanges();
        prompt.checkRanges();
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
}
