package dev.baton.router;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A failure that the router itself reports to a client, in vLLM's form
/// `{"error":{"message","type","param","code"}}`.
///
/// @param status HTTP status, also `code`
/// @param type vLLM's error type, or the phrase of the status
/// @param param the field at fault
/// @param retryAfterSeconds for `Retry-After`
record ApiFailure(
        int status, String type, String message, Optional<String> param, Optional<Integer> retryAfterSeconds) {

    /// A body that vLLM would refuse before it looks at a field.
    static ApiFailure badRequest(String message, Optional<String> param) {
        return new ApiFailure(400, "Bad Request", message, param, Optional.empty());
    }

    static ApiFailure notFound() {
        return new ApiFailure(404, "Not Found", "Not Found", Optional.empty(), Optional.empty());
    }

    static ApiFailure methodNotAllowed() {
        return new ApiFailure(405, "Method Not Allowed", "Method Not Allowed", Optional.empty(), Optional.empty());
    }

    /// Nobody can serve this now, but soon perhaps.
    static ApiFailure unavailable(String message) {
        return new ApiFailure(503, "Service Unavailable", message, Optional.empty(), Optional.of(1));
    }

    /// An engine took the request and broke it.
    static ApiFailure badGateway(String message) {
        return new ApiFailure(502, "Bad Gateway", message, Optional.empty(), Optional.of(1));
    }

    /// An engine did not answer in time.
    static ApiFailure gatewayTimeout(String message) {
        return new ApiFailure(504, "Gateway Timeout", message, Optional.empty(), Optional.empty());
    }

    /// The body of a whole answer.
    byte[] json() {
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        ObjectNode error = body.putObject("error");
        error.put("message", message);
        error.put("type", type);
        param.ifPresentOrElse(name -> error.put("param", name), () -> error.putNull("param"));
        error.put("code", status);
        return Json.bytes(body);
    }

    /// The event that tells a client in the midst of a stream.
    byte[] event() {
        return ("data: " + new String(json(), StandardCharsets.UTF_8) + "\n\n").getBytes(StandardCharsets.UTF_8);
    }
}
