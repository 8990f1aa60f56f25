package dev.baton.openai;

import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// The body of `POST /detokenize`.
public record DetokenizeRequest(Optional<String> model, int[] tokens) {
    /// Reads and checks a body.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    public static DetokenizeRequest parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        Optional<String> model = fields.string("model");
        if (!fields.has("tokens")) {
            fields.missing("tokens");
        }
        List<Integer> tokens = fields.integers("tokens");
        fields.check();
        return new DetokenizeRequest(
                model, tokens.stream().mapToInt(Integer::intValue).toArray());
    }

    /// The answer.
    public static byte[] answer(String prompt) {
        return JsonOut.bytes(json -> {
            json.writeStartObject();
            json.writeStringProperty("prompt", prompt);
            json.writeEndObject();
        });
    }
}
