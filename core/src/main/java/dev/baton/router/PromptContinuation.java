package dev.baton.router;

import dev.baton.http.Json;
import java.util.List;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// How a stream goes on at an engine that is not Baton's and can say token ids (vLLM's `return_token_ids`): as
/// a completion whose prompt is the first one's tokens and what came out of them. Its events are rewritten to
/// those that the client has been getting.
///
/// An engine that says no token ids is given the text so far behind the text of the prompt instead, unless only
/// exact continuations are wanted ([RouterConfig#exactContinuation]): where text and tokens do not match one to
/// one, the rest may be another one than that engine would have sent.
///
/// Tokens that were output are prompt then, so it serves only requests to which that makes no difference.
final class PromptContinuation {
    static final String TOKEN_IDS = "return_token_ids";

    /// What the engine remembers of an output besides its tokens, or would remember wrongly.
    private static final List<String> LOOKS_AT_OUTPUT = List.of(
            "stop",
            "logprobs",
            "top_logprobs",
            "response_format",
            "structured_outputs",
            "guided_json",
            "guided_regex",
            "guided_choice",
            "guided_grammar",
            "tools",
            "bad_words",
            "logits_processors",
            "vllm_xargs",
            "truncate_prompt_tokens",
            "thinking_token_budget",
            "repetition_detection");

    private static final List<String> CHAT_ONLY = List.of(
            "messages",
            "max_completion_tokens",
            "tool_choice",
            "parallel_tool_calls",
            "chat_template",
            "chat_template_kwargs",
            "add_generation_prompt",
            "continue_final_message",
            "documents",
            "mm_processor_kwargs",
            "include_reasoning",
            "reasoning_effort");

    /// The default of `/v1/completions`.
    private static final int COMPLETION_TOKENS = 16;

    private final boolean chat;
    private final boolean showsTokenIds;
    private final String id;
    private final long created;
    private final int numTokens;

    /// @param request the client's
    /// @param head an event of the stream so far
    /// @param numTokens that the client has
    PromptContinuation(GenerationRequest request, JsonNode head, int numTokens) {
        this.chat = request.endpoint().chat();
        this.showsTokenIds = request.tree().path(TOKEN_IDS).asBoolean(false);
        this.id = head.path("id").asString("");
        this.created = head.path("created").asLong(0);
        this.numTokens = numTokens;
    }

    /// Whether a request's output depends on nothing but the tokens before each token.
    static boolean serves(GenerationRequest request) {
        ObjectNode body = request.tree();
        return request.isContinuable()
                && LOOKS_AT_OUTPUT.stream().noneMatch(field -> isSet(body.path(field)))
                && body.path("presence_penalty").asDouble(0) == 0
                && body.path("frequency_penalty").asDouble(0) == 0
                // Its generator begins anew, so that a seed would not give what it promises.
                && (!body.hasNonNull("seed") || isGreedy(body));
    }

    private static boolean isSet(JsonNode value) {
        return !value.isMissingNode()
                && !value.isNull()
                && !(value.isContainer() && value.isEmpty())
                && !(value.isBoolean() && !value.booleanValue());
    }

    private static boolean isGreedy(ObjectNode body) {
        return body.hasNonNull("temperature") && body.path("temperature").asDouble(1) == 0;
    }

    /// Most tokens that the client asks for; empty: as many as the context holds.
    static OptionalInt limit(GenerationRequest request) {
        ObjectNode body = request.tree();
        for (String field : List.of("max_completion_tokens", "max_tokens")) {
            boolean counts = request.endpoint().chat() || field.equals("max_tokens");
            if (counts && body.path(field).isIntegralNumber()) {
                return OptionalInt.of(body.path(field).asInt(COMPLETION_TOKENS));
            }
        }
        return request.endpoint().chat() ? OptionalInt.empty() : OptionalInt.of(COMPLETION_TOKENS);
    }

    /// Whether the request's prompt is a text that more text can be put behind.
    static boolean servesText(GenerationRequest request) {
        return !request.endpoint().chat()
                && request.tree().path("prompt").isString()
                && !request.tree().path("echo").asBoolean(false)
                && !request.tree().hasNonNull("suffix");
    }

    /// The body of the rest.
    ///
    /// @param tokens prompt and output so far
    /// @param limit most tokens that are left
    ObjectNode body(ObjectNode request, int[] tokens, int limit) {
        ArrayNode prompt = JsonNodeFactory.instance.arrayNode(tokens.length);
        for (int token : tokens) {
            prompt.add(token);
        }
        return body(request, prompt, limit).put(TOKEN_IDS, true);
    }

    /// The body of the rest where only the text so far is known.
    ///
    /// @param text the output so far
    /// @param limit most tokens that are left
    ObjectNode body(ObjectNode request, String text, int limit) {
        JsonNode prompt =
                JsonNodeFactory.instance.stringNode(request.path("prompt").asString("") + text);
        return body(request, prompt, limit);
    }

    private ObjectNode body(ObjectNode request, JsonNode prompt, int limit) {
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        body.setAll(request);
        CHAT_ONLY.forEach(body::remove);
        body.set("prompt", prompt);
        body.put("max_tokens", limit);
        int least = request.path("min_tokens").asInt(0) - numTokens;
        body.remove("min_tokens");
        if (least > 0) {
            body.put("min_tokens", Math.min(least, limit));
        }
        return body;
    }

    /// An event of the rest as one of the stream.
    byte[] translate(byte[] event) {
        if (!(Json.parse(event) instanceof ObjectNode json)) {
            return event;
        }
        json.put("id", id).put("created", created);
        if (chat) {
            json.put("object", "chat.completion.chunk");
        }
        if (json.path("choices").path(0) instanceof ObjectNode choice) {
            choice(json, choice);
        }
        if (json.path("usage") instanceof ObjectNode usage) {
            usage.put("prompt_tokens", usage.path("prompt_tokens").asInt(0) - numTokens);
            usage.put("completion_tokens", usage.path("completion_tokens").asInt(0) + numTokens);
        }
        return Json.bytes(json);
    }

    private void choice(ObjectNode json, ObjectNode choice) {
        boolean hasIds = choice.has("token_ids");
        choice.remove("prompt_token_ids");
        if (!showsTokenIds && hasIds) {
            choice.putNull("token_ids");
        }
        if (!chat) {
            if (hasIds) {
                choice.putNull("prompt_token_ids");
            }
            return;
        }
        ObjectNode shown = JsonNodeFactory.instance.objectNode();
        shown.set("index", choice.path("index"));
        shown.putObject("delta").set("content", choice.path("text"));
        shown.putNull("logprobs");
        shown.set("finish_reason", choice.path("finish_reason"));
        if (choice.hasNonNull("finish_reason")) {
            shown.set("stop_reason", choice.path("stop_reason"));
        }
        shown.set("token_ids", choice.path("token_ids"));
        json.putArray("choices").add(shown);
    }
}
