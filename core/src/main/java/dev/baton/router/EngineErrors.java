package dev.baton.router;

import dev.baton.http.Json;
import java.util.Arrays;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.MissingNode;

/// What an engine's error event says. Stateless.
final class EngineErrors {
    private EngineErrors() {}

    /// Whether the request is at fault (a code below 500): another engine would say the same.
    ///
    /// @param event `data: {"error": {...}}`, and perhaps more lines
    static boolean isOfTheRequest(byte[] event) {
        JsonNode code = code(event);
        return code.isIntegralNumber() && code.asInt(500) < 500;
    }

    /// Whether all of it is there, and not only its beginning.
    static boolean isComplete(byte[] event) {
        try {
            Json.parse(json(event));
            return true;
        } catch (Json.MalformedException e) {
            return false;
        }
    }

    /// The status of a response that says the same: the event's code if it is one of an error, else 500.
    static int status(byte[] event) {
        JsonNode code = code(event);
        int status = code.isIntegralNumber() ? code.asInt(500) : 500;
        return status >= 400 && status < 600 ? status : 500;
    }

    /// What follows `data:` in its line.
    static byte[] json(byte[] event) {
        int begin = 0;
        while (begin < event.length && event[begin] != '{') {
            begin++;
        }
        int end = begin;
        while (end < event.length && event[end] != '\n') {
            end++;
        }
        return Arrays.copyOfRange(event, begin, end);
    }

    private static JsonNode code(byte[] event) {
        try {
            return Json.parse(json(event)).at("/error/code");
        } catch (Json.MalformedException e) {
            return MissingNode.getInstance();
        }
    }
}
