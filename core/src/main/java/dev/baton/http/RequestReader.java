package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.util.Locale;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Collects the body of one request within its limits, then hands the exchange to the handler. Event loop only.
final class RequestReader {
    /// How long a body that is too large is read and thrown away after the answer, so that the client sees the
    /// answer instead of a reset connection.
    private static final long LINGER_MILLIS = 2_000;

    private static final byte[] EMPTY = {};
    private static final Buffer UNAUTHORIZED = Buffer.buffer("{\"error\":\"Unauthorized\"}");
    private static final Logger LOG = LoggerFactory.getLogger(RequestReader.class);

    private final long startNanos = System.nanoTime();
    private final Vertx vertx;
    private final HttpServerConfig config;
    private final Connections connections;
    private final HttpServerRequest request;
    private final HttpHandler handler;
    private Buffer body = Buffer.buffer();
    private boolean refused;
    private long timer;
    private Runnable whenEnded = () -> {};

    RequestReader(
            Vertx vertx,
            HttpServerConfig config,
            Connections connections,
            HttpServerRequest request,
            HttpHandler handler) {
        this.vertx = vertx;
        this.config = config;
        this.connections = connections;
        this.request = request;
        this.handler = handler;
    }

    void start() {
        connections.requestStarted(request.connection());
        // A response has one end handler: whoever else waits for its end is told from here.
        request.response().endHandler(end -> {
            connections.requestEnded(request.connection());
            whenEnded.run();
            LOG.debug(
                    "{} {} {} {} in {} ms",
                    request.remoteAddress(),
                    request.method(),
                    request.path(),
                    request.response().getStatusCode(),
                    (System.nanoTime() - startNanos) / 1_000_000);
        });
        if (config.cors().handle(request)) {
            return;
        }
        boolean isAdmitted = config.apiKeys()
                .admits(
                        request.method().name(),
                        String.valueOf(request.path()),
                        Optional.ofNullable(request.getHeader("authorization")));
        String length = request.getHeader("content-length");
        if (length == null && request.getHeader("transfer-encoding") == null) {
            if (isAdmitted) {
                finish(EMPTY);
            } else {
                json(401).end(UNAUTHORIZED);
            }
            return;
        }
        timer = vertx.setTimer(Math.max(1, config.bodyDeadline().toMillis()), id -> refuse(408, "Request Timeout"));
        request.exceptionHandler(e -> vertx.cancelTimer(timer));
        request.handler(this::onBytes);
        request.endHandler(end -> {
            vertx.cancelTimer(timer);
            if (refused) {
                request.response().end();
            } else {
                byte[] bytes = body.getBytes();
                body = Buffer.buffer();
                finish(bytes);
            }
        });
        if (!isAdmitted) {
            refuse(401, UNAUTHORIZED);
        } else if (length != null && declaredLength(length) > config.maxBodyBytes()) {
            refuse(413, "Request Entity Too Large");
        } else if ("100-continue".equalsIgnoreCase(request.getHeader("expect"))) {
            request.response().writeContinue();
        }
    }

    private static long declaredLength(String contentLength) {
        try {
            return Long.parseLong(contentLength.strip().toLowerCase(Locale.ROOT));
        } catch (NumberFormatException e) {
            return Long.MAX_VALUE;
        }
    }

    private void onBytes(Buffer bytes) {
        if (refused) {
            return;
        }
        if (body.length() + (long) bytes.length() > config.maxBodyBytes()) {
            refuse(413, "Request Entity Too Large");
        } else {
            body.appendBuffer(bytes);
        }
    }

    /// Answers at once and reads on for a moment; the connection is not used again.
    private void refuse(int status, Buffer answer) {
        refused = true;
        body = Buffer.buffer();
        vertx.cancelTimer(timer);
        json(status)
                .putHeader("content-length", Integer.toString(answer.length()))
                .putHeader("connection", "close")
                .write(answer);
        timer = vertx.setTimer(LINGER_MILLIS, id -> request.connection().close());
    }

    private HttpServerResponse json(int status) {
        return request.response().setStatusCode(status).putHeader("content-type", "application/json");
    }

    private void refuse(int status, String phrase) {
        refuse(
                status,
                Buffer.buffer("{\"error\":{\"message\":\"" + refusal(status) + "\",\"type\":\"" + phrase
                        + "\",\"param\":null,\"code\":" + status + "}}"));
    }

    private String refusal(int status) {
        return status == 413
                ? "The request body is larger than " + config.maxBodyBytes() + " bytes."
                : "The request body did not arrive within "
                        + config.bodyDeadline().toMillis() + " ms.";
    }

    private void finish(byte[] bytes) {
        HttpExchange exchange = new HttpExchange(vertx, config, request, bytes);
        whenEnded = exchange::ended;
        try {
            handler.handle(exchange);
        } catch (RuntimeException | Error e) {
            exchange.fail(e);
        }
    }
}
