package dev.baton.openai;

import java.util.Optional;
import java.util.OptionalInt;
import tools.jackson.databind.JsonNode;

/// The body of `POST /tokenize`: a text, or a conversation.
///
/// @param returnTokenStrs whether the answer has the tokens' texts as well
public record TokenizeRequest(Optional<String> model, Input input, boolean addSpecialTokens, boolean returnTokenStrs) {

    /// What is to be tokenised.
    public sealed interface Input {
        /// A text.
        record Text(String text) implements Input {}

        /// A conversation, through the chat template.
        record Conversation(ChatInput chat) implements Input {}
    }

    /// Reads and checks a body.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    public static TokenizeRequest parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        Optional<String> model = fields.string("model");
        boolean strings = fields.flag("return_token_strs", false);
        if (fields.has("messages")) {
            boolean addSpecialTokens = fields.flag("add_special_tokens", false);
            ChatInput chat = ChatInput.read(fields).withTools(ToolOptions.readTools(fields));
            return new TokenizeRequest(model, new Input.Conversation(chat), addSpecialTokens, strings);
        }
        boolean addSpecialTokens = fields.flag("add_special_tokens", true);
        Optional<String> prompt = fields.string("prompt");
        if (!fields.has("prompt")) {
            fields.missing("prompt");
        }
        fields.check();
        return new TokenizeRequest(model, new Input.Text(prompt.orElseThrow()), addSpecialTokens, strings);
    }

    /// The answer.
    ///
    /// @param tokenStrs one text a token, if asked for
    public static byte[] answer(int[] tokens, int maxModelLen, Optional<String[]> tokenStrs) {
        return JsonOut.bytes(json -> {
            json.writeStartObject();
            json.writeNumberProperty("count", tokens.length);
            JsonOut.intOrNull(json, "max_model_len", OptionalInt.of(maxModelLen));
            JsonOut.intsOrNull(json, "tokens", Optional.of(tokens));
            if (tokenStrs.isPresent()) {
                json.writeName("token_strs");
                json.writeArray(tokenStrs.get(), 0, tokenStrs.get().length);
            } else {
                json.writeNullProperty("token_strs");
            }
            json.writeEndObject();
        });
    }
}
