package dev.baton.openai;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.node.ObjectNode;

/// The fields that completion and chat requests share: how to sample, when to stop, what to return. Values are
/// checked against vLLM's ranges; what is empty was not in the request, and the model's defaults apply.
///
/// @param n choices for each prompt
/// @param maxTokens most tokens to generate; empty: as many as the context holds; 0 with `echo` only: nothing
///     but the prompt is shown
/// @param priority lower comes first, where the engine schedules by priority
/// @param user on whose behalf the request is made; users take turns in the queue
/// @param kvTransferParams what the request says about its hand-off, unread
public record GenerationOptions(
        int n,
        OptionalInt maxTokens,
        SamplingOptions sampling,
        StopOptions stop,
        PromptOptions prompt,
        OutputOptions output,
        int priority,
        Optional<String> user,
        Optional<String> requestId,
        Optional<ObjectNode> kvTransferParams) {

    /// Most choices for each prompt.
    public static final int MAX_N = 128;

    /// The two APIs that share the fields.
    enum Api {
        COMPLETIONS,
        CHAT
    }

    /// Reads the shared fields.
    ///
    /// @param maxTokens already taken from the field that the API in question names
    /// @param logprobs the same
    static GenerationOptions read(Fields fields, OptionalInt maxTokens, OptionalInt logprobs, Api api) {
        GenerationOptions options = new GenerationOptions(
                fields.integer("n").orElse(1),
                maxTokens,
                SamplingOptions.read(fields),
                StopOptions.read(fields),
                PromptOptions.read(fields, api == Api.COMPLETIONS),
                OutputOptions.read(fields, logprobs),
                fields.integer("priority").orElse(0),
                fields.string("user"),
                fields.string("request_id"),
                fields.dict("kv_transfer_params"));
        fields.check();
        if (fields.has("stream_options") && !options.output.stream()) {
            throw new ApiException(ApiError.badRequest(
                    "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
                    "stream_options"));
        }
        refuseUnbuilt(fields);
        options.checkRanges(api);
        return options;
    }

    /// The same for an output in which calls of tools are looked for.
    ///
    /// @param keepsSpecialTokens whether special tokens stay in the text, whatever the request says
    /// @param demanded what the output must look like instead of what the request says
    public GenerationOptions forTools(boolean keepsSpecialTokens, Optional<StructuredOutput> demanded) {
        return new GenerationOptions(
                n,
                maxTokens,
                demanded.isPresent() ? sampling.withStructuredOutput(demanded) : sampling,
                stop,
                prompt,
                keepsSpecialTokens ? output.withSpecialTokens() : output,
                priority,
                user,
                requestId,
                kvTransferParams);
    }

    /// The same with a seed.
    public GenerationOptions withSeed(long seed) {
        return new GenerationOptions(
                n,
                maxTokens,
                sampling.withSeed(seed),
                stop,
                prompt,
                output,
                priority,
                user,
                requestId,
                kvTransferParams);
    }

    /// A field that would change the output is never passed over in silence.
    private static void refuseUnbuilt(Fields fields) {
        for (String name : List.of("use_beam_search", "watermarking", "return_token_offsets")) {
            refuseIf(fields.flag(name, false), name);
        }
        for (String name : List.of(
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
        refuseIf(
                fields.list("logits_processors").filter(list -> !list.isEmpty()).isPresent(), "logits_processors");
        refuseIf(fields.dict("vllm_xargs").filter(args -> !args.isEmpty()).isPresent(), "vllm_xargs");
        refuseIf(fields.number("length_penalty").orElse(1) != 1, "length_penalty");
        int bestOf = fields.integer("best_of").orElse(1);
        refuseIf(bestOf != 1 && bestOf != fields.integer("n").orElse(1), "best_of");
        fields.check();
    }

    private static void refuseIf(boolean asksForIt, String name) {
        if (asksForIt) {
            throw new ApiException(ApiError.notImplemented(name));
        }
    }

    private void checkRanges(Api api) {
        if (n < 1) {
            throw Ranges.bad("n must be at least 1, got " + n + ".");
        }
        if (n > MAX_N) {
            throw Ranges.bad("n must be at most " + MAX_N + ", got " + n + ".");
        }
        sampling.checkRanges(n);
        maxTokens.ifPresent(value -> {
            boolean promptOnly = value == 0 && output.echo() && api == Api.COMPLETIONS;
            if (value < 1 && !promptOnly) {
                throw Ranges.badValue("max_tokens must be at least 1, got " + value + ".", "max_tokens", value);
            }
        });
        stop.checkRanges(maxTokens.isPresent() ? OptionalInt.of(Math.max(1, maxTokens.getAsInt())) : maxTokens);
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
