package dev.baton.openai;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/// The body of `POST /v1/chat/completions`.
///
/// @param model the model asked for, if any was
/// @param chat what the chat template makes the prompt from
public record ChatCompletionRequest(Optional<String> model, ChatInput chat, GenerationOptions options) {

    /// Reads and checks a body.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    public static ChatCompletionRequest parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        Optional<String> model = fields.string("model");
        OptionalInt maxTokens = fields.has("max_completion_tokens")
                ? fields.integer("max_completion_tokens")
                : fields.integer("max_tokens");
        boolean wantsLogprobs = fields.flag("logprobs", false);
        OptionalInt topLogprobs = fields.integer("top_logprobs");
        ChatInput chat = ChatInput.read(fields);
        fields.check();
        if (topLogprobs.isPresent()) {
            int top = topLogprobs.getAsInt();
            if (top < -1) {
                throw Ranges.badValue("`top_logprobs` must be a positive value or -1.", "top_logprobs", top);
            }
            if (top != 0 && !wantsLogprobs) {
                throw new ApiException(ApiError.badRequest(
                        "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)",
                        "top_logprobs"));
            }
        }
        Map<String, Object> extra = toolsForTemplate(fields);
        GenerationOptions options = GenerationOptions.read(
                fields,
                maxTokens,
                wantsLogprobs ? OptionalInt.of(topLogprobs.orElse(0)) : OptionalInt.empty(),
                GenerationOptions.Api.CHAT);
        return new ChatCompletionRequest(model, chat.withTemplateFields(extra), options);
    }

    private static Map<String, Object> toolsForTemplate(Fields fields) {
        Optional<JsonNode> tools = fields.list("tools").filter(list -> !list.isEmpty());
        Optional<JsonNode> choice = fields.node("tool_choice");
        fields.check();
        boolean none = choice.isPresent() && choice.get().asString("").equals("none");
        if (tools.isEmpty()) {
            if (choice.isPresent() && !none) {
                throw new ApiException(ApiError.badRequest(
                        "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)", "tool_choice"));
            }
            return Map.of();
        }
        if (choice.isEmpty() || choice.get().asString("").equals("auto")) {
            throw new ApiException(ApiError.badRequest(
                    "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"));
        }
        if (!none) {
            throw new ApiException(ApiError.notImplemented("tool_choice"));
        }
        List<Object> plain = ChatInput.plainList(tools.get());
        Map<String, Object> extra = new LinkedHashMap<>();
        extra.put("tools", plain);
        return extra;
    }
}
