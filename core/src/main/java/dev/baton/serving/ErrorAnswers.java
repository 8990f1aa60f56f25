package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.openai.ApiError;
import java.time.Duration;
import java.util.Optional;

/// Sends errors in the API's form.
final class ErrorAnswers {
    private static final Duration RETRY_AFTER = Duration.ofSeconds(1);
    private static final Duration RETRY_AFTER_AT_MOST = Duration.ofMinutes(1);

    private ErrorAnswers() {}

    static void send(HttpExchange exchange, ApiError error) {
        HttpHeaders headers = HttpHeaders.of("content-type", "application/json");
        if (error.status() == 503 || error.status() == 429) {
            headers = headers.with("retry-after", Long.toString(seconds(error.retryAfter())));
        }
        exchange.respond(error.status(), headers, error.toJson());
    }

    /// Whole seconds, at least one: the header knows no parts.
    private static long seconds(Optional<Duration> retryAfter) {
        Duration wait = retryAfter.orElse(RETRY_AFTER);
        Duration bounded = wait.compareTo(RETRY_AFTER_AT_MOST) > 0 ? RETRY_AFTER_AT_MOST : wait;
        return Math.max(1, bounded.plusNanos(999_999_999).toSeconds());
    }
}
