package dev.baton.router;

import dev.baton.http.HttpExchange;
import dev.baton.openai.ApiError;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Answers requests with errors that are the router's own, and logs them. Thread-safe.
final class Refusals {
    private static final Logger LOG = LoggerFactory.getLogger(Refusals.class);

    private final AccessLog log;

    Refusals(AccessLog log) {
        this.log = log;
    }

    void refuse(HttpExchange exchange, ApiError error) {
        refuse(exchange, RequestId.from(exchange.header(RequestId.HEADER)), error);
    }

    void refuse(HttpExchange exchange, RequestId id, ApiError error) {
        refuse(exchange, id, error, error.message());
    }

    /// @param why for the log
    void refuse(HttpExchange exchange, RequestId id, ApiError error, String why) {
        log.refused(exchange, id, error.status(), why);
        exchange.respond(error.status(), RouterErrors.headers(error, id), error.toJson());
    }

    /// A bug of the router's own.
    void crashed(HttpExchange exchange, RequestId id, Throwable cause) {
        LOG.error("{} {} met a bug of the router", exchange.method(), exchange.path(), cause);
        refuse(exchange, id, RouterErrors.INTERNAL);
    }

    /// Runs a step that a bug must not leave unanswered.
    void guarded(HttpExchange exchange, Runnable step) {
        try {
            step.run();
        } catch (RuntimeException | Error e) {
            crashed(exchange, RequestId.from(exchange.header(RequestId.HEADER)), e);
        }
    }
}
