package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.openai.ApiError;

/// Sends errors in the API's form.
final class ErrorAnswers {
    private static final String RETRY_AFTER_SECONDS = "1";

    private ErrorAnswers() {}

    static void send(HttpExchange exchange, ApiError error) {
        HttpHeaders headers = HttpHeaders.of("content-type", "application/json");
        if (error.status() == 503 || error.status() == 429) {
            headers = headers.with("retry-after", RETRY_AFTER_SECONDS);
        }
        exchange.respond(error.status(), headers, error.toJson());
    }
}
