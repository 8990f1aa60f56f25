package dev.baton.router;

import dev.baton.http.Json;
import java.util.Arrays;
import tools.jackson.databind.JsonNode;

/// What an engine's error event says. Stateless.
final class EngineErrors {
    private EngineErrors() {}

    /// Whether the request is at fault (a code below 500): another engine would say the same.
    ///
    /// @param event `data: {"error": {...}}`, and perhaps more lines
    static boolean isOfTheRequest(byte[] event) {
        int begin = 0;
        while (begin < event.length && event[begin] != '{') {
            begin++;
        }
        int end = begin;
        while (end < event.length && event[end] != '\n') {
            end++;
        }
        try {
            JsonNode code = Json.parse(Arrays.copyOfRange(event, begin, end)).at("/error/code");
            return code.isIntegralNumber() && code.asInt(500) < 500;
        } catch (Json.MalformedException e) {
            return false;
        }
    }
}
