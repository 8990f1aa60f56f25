package dev.baton.openai;

import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/// The body of `POST /v1/chat/completions`.
///
/// @param model the model asked for, if any was
/// @param chat what the chat template makes the prompt from
public record ChatCompletionRequest(
        Optional<String> model, ChatInput chat, ToolOptions tools, GenerationOptions options) {

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
        ToolOptions tools = ToolOptions.read(fields);
        GenerationOptions options = GenerationOptions.read(
                fields,
                maxTokens,
                wantsLogprobs ? OptionalInt.of(topLogprobs.orElse(0)) : OptionalInt.empty(),
                GenerationOptions.Api.CHAT);
        return new ChatCompletionRequest(model, chat.withTools(tools.tools()), tools, options);
    }
}
