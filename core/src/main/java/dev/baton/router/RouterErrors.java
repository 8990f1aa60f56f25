package dev.baton.router;

import dev.baton.http.HttpHeaders;
import dev.baton.openai.ApiError;
import java.time.Duration;
import java.util.Optional;

/// The failures that the router itself reports to clients, in vLLM's form. None of them names an engine's address.
final class RouterErrors {
    /// An engine ended in the midst of a stream; sent as the stream's last event.
    static final ApiError STREAM_BROKE = ApiError.internal("The engine stopped before the answer was complete.");

    /// A bug of the router's own.
    static final ApiError INTERNAL = ApiError.internal("Internal Server Error");

    static final ApiError NO_DECODER = ApiError.unavailable("No decoder is available. Please try again later.");
    static final ApiError NO_PREFILLER = ApiError.unavailable("No prefiller is available. Please try again later.");
    static final ApiError NO_ENGINE = ApiError.unavailable("No engine is available. Please try again later.");
    static final ApiError OVERLOADED = ApiError.unavailable("Too many requests are in flight. Please try again later.");
    static final ApiError ENGINE_DIED = badGateway("The engine stopped before it answered.");
    static final ApiError ANSWER_UNUSABLE = badGateway("The engine's answer cannot be passed on.");
    static final ApiError ANSWER_LATE = error(504, "GatewayTimeoutError", "The engine did not answer in time.");
    static final ApiError MODEL_NOT_ALLOWED =
            error(403, "PermissionDeniedError", "This API key is not for the model that was asked for.");
    static final ApiError NOT_FOUND = error(404, "NotFoundError", "Not Found");
    static final ApiError METHOD_NOT_ALLOWED = error(405, "MethodNotAllowedError", "Method Not Allowed");

    private static final String RETRY_AFTER_SECONDS = "1";

    private RouterErrors() {}

    /// A request that this fleet cannot serve: its decoders do nothing without a prefiller.
    ///
    /// @param obstacle why it cannot be handed over
    static ApiError notHandedOver(String obstacle) {
        return error(400, "BadRequestError", "The engines behind this server cannot serve " + obstacle + ".");
    }

    /// Too many requests wait already.
    static ApiError shed(Duration retryAfter) {
        return ApiError.unavailable(
                "The fleet is overloaded: too many requests are waiting. Please try again later.",
                Optional.of(retryAfter));
    }

    /// A key has used up its tokens.
    static ApiError tooManyTokens(int perMinute, Duration retryAfter) {
        return new ApiError(
                429,
                "Rate limit reached for tokens of this API key: its limit is " + perMinute + " a minute.",
                "rate_limit_exceeded",
                Optional.empty(),
                Optional.of(Duration.ofSeconds(Math.max(1, Math.ceilDiv(retryAfter.toMillis(), 1000)))));
    }

    private static ApiError badGateway(String message) {
        return error(502, "BadGatewayError", message);
    }

    private static ApiError error(int status, String type, String message) {
        return new ApiError(status, message, type, Optional.empty());
    }

    /// The header fields that go with an error: where another try may help soon, `Retry-After`.
    static HttpHeaders headers(ApiError error, RequestId id) {
        HttpHeaders headers = HttpHeaders.of("content-type", "application/json").with(RequestId.HEADER, id.client());
        if (error.retryAfter().isPresent()) {
            return headers.with(
                    "retry-after", Long.toString(error.retryAfter().get().toSeconds()));
        }
        return error.status() == 502 || error.status() == 503
                ? headers.with("retry-after", RETRY_AFTER_SECONDS)
                : headers;
    }
}
