package dev.baton.openai;

import java.time.Duration;
import java.util.Optional;
import tools.jackson.core.JsonGenerator;

/// An error as the API reports it: `{"error":{"message","type","param","code"}}`, where `code` is the HTTP status.
///
/// @param status HTTP status, 400 to 599
/// @param type vLLM's name of the kind of error, for example `BadRequestError`
/// @param param the request's field that was wrong, if it is one
/// @param retryAfter when another try may succeed, if that is known; for the header `Retry-After`
public record ApiError(int status, String message, String type, Optional<String> param, Optional<Duration> retryAfter) {

    /// An error of which it is not known when another try may succeed.
    public ApiError(int status, String message, String type, Optional<String> param) {
        this(status, message, type, param, Optional.empty());
    }

    /// 400 for a request that says something impossible.
    public static ApiError badRequest(String message) {
        return new ApiError(400, message, "BadRequestError", Optional.empty());
    }

    /// 400 for a request whose field `param` says something impossible.
    public static ApiError badRequest(String message, String param) {
        return new ApiError(400, message, "BadRequestError", Optional.of(param));
    }

    /// 400 for a field whose value is not allowed, in vLLM's form that repeats field and value.
    public static ApiError badParameter(String message, String param, Object value) {
        return badRequest(message + " (parameter=" + param + ", value=" + value + ")", param);
    }

    /// 400 for a body that is not JSON.
    ///
    /// @param offset where reading stopped
    /// @param reason what the parser says
    public static ApiError invalidJson(long offset, String reason) {
        return Validation.error(new Validation.Problem(
                "json_invalid", "body." + offset, "JSON decode error", "<dict of 0 items>", Optional.of(reason)));
    }

    /// 400 for a POST without a body.
    public static ApiError missingBody() {
        return Validation.error(new Validation.Problem("missing", "body", "Field required", "None", Optional.empty()));
    }

    /// 400 for a content type other than `application/json`.
    public static ApiError unsupportedMediaType() {
        return new ApiError(
                400,
                "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
                "Bad Request",
                Optional.empty());
    }

    /// 404 for a model that is not served here.
    public static ApiError unknownModel(String model, String served) {
        return new ApiError(
                404,
                "The model `" + model + "` does not exist. Valid aliases: " + served + ".",
                "NotFoundError",
                Optional.of("model"));
    }

    /// 501 for a field that exists in the API and is not built here.
    public static ApiError notImplemented(String param) {
        return new ApiError(
                501, "`" + param + "` is not implemented by this server.", "NotImplementedError", Optional.of(param));
    }

    /// 500.
    public static ApiError internal(String message) {
        return new ApiError(500, message, "InternalServerError", Optional.empty());
    }

    /// 503: try again later, or elsewhere.
    public static ApiError unavailable(String message) {
        return new ApiError(503, message, "ServiceUnavailableError", Optional.empty());
    }

    /// 503: try again after some time, or elsewhere.
    public static ApiError unavailable(String message, Optional<Duration> retryAfter) {
        return new ApiError(503, message, "ServiceUnavailableError", Optional.empty(), retryAfter);
    }

    /// The error as a JSON body, and as the payload of an error event.
    public byte[] toJson() {
        return JsonOut.bytes(this::writeTo);
    }

    private void writeTo(JsonGenerator json) {
        json.writeStartObject();
        json.writeObjectPropertyStart("error");
        json.writeStringProperty("message", message);
        json.writeStringProperty("type", type);
        JsonOut.stringOrNull(json, "param", param);
        json.writeNumberProperty("code", status);
        json.writeEndObject();
        json.writeEndObject();
    }
}
