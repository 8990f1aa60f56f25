package dev.baton.openai;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The calls in an earlier message of the assistant, as chat templates want them: arguments are objects there, and
/// texts of JSON in requests.
final class MessageToolCalls {
    private static final JsonMapper MAPPER = new JsonMapper();

    private MessageToolCalls() {}

    /// Reads `tool_calls`.
    ///
    /// @return empty if there are none
    /// @throws ApiException if an entry is no call of a function
    static Optional<List<Object>> read(JsonNode message) {
        JsonNode calls = message.path("tool_calls");
        if (!calls.isArray() || calls.isEmpty()) {
            return Optional.empty();
        }
        List<Object> plain = new ArrayList<>(calls.size());
        calls.forEach(call -> plain.add(call(call)));
        return Optional.of(plain);
    }

    private static Map<String, @Nullable Object> call(JsonNode call) {
        if (!call.isObject()) {
            throw bad("assistant tool_calls entries must be objects.");
        }
        boolean isFunction = call.path("type").asString("function").equals("function");
        if (!isFunction || !call.path("function").isObject()) {
            throw bad("chat completions only support assistant tool_calls of type 'function'.");
        }
        Map<String, @Nullable Object> function = new LinkedHashMap<>(PlainJson.map(call.path("function")));
        function.put("arguments", arguments(call.path("function").path("arguments")));
        Map<String, @Nullable Object> plain = new LinkedHashMap<>(PlainJson.map(call));
        plain.put("function", function);
        return plain;
    }

    /// What is no object, malformed JSON too, becomes an empty one: it stands in the conversation's history, where
    /// refusing it would refuse every further turn.
    private static Map<String, @Nullable Object> arguments(JsonNode given) {
        JsonNode arguments = given;
        if (given.isString()) {
            try {
                arguments = MAPPER.readTree(given.stringValue());
            } catch (JacksonException e) {
                return Map.of();
            }
        }
        return arguments.isObject() ? PlainJson.map(arguments) : Map.of();
    }

    private static ApiException bad(String message) {
        return new ApiException(ApiError.badRequest(message + " (parameter=tool_calls)", "tool_calls"));
    }
}
