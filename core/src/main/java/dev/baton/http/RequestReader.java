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
    private static final String UNAUTHORIZED = "{\"error\":\"Unauthorized\"}";
    private static final Logger LOG = LoggerFactory.getLogger(RequestReader.class);

    private final long startNanos = System.nanoTime();
    private final Vertx vertx;
    private final HttpServerConfig config;
    private final Connections connections;
    private final HttpServerRequest request;
    private final HttpHandler handler;
    private Buffer body = Buffer.buffer();
    private Optional<ApiKey> key = Optional.empty();
    private boolean refused;
    private boolean over;
    private long timer;
    private Runnable whenEnded = () -> {};
    private Runnable whenClosed = () -> {};

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
        // A response has one handler of each kind: whoever else waits is told from here.
        request.response().endHandler(end -> {
            over();
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
        request.response().closeHandler(closed -> {
            over();
            whenClosed.run();
        });
        if (config.cors().handle(request)) {
            return;
        }
        Optional<Refusal> refusal = refusal();
        String length = request.getHeader("content-length");
        if (length == null && request.getHeader("transfer-encoding") == null) {
            refusal.ifPresentOrElse(this::answer, () -> finish(EMPTY));
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
        if (refusal.isPresent()) {
            refuse(refusal.get());
        } else if (length != null && declaredLength(length) > config.maxBodyBytes()) {
            refuse(413, "Request Entity Too Large");
        } else if ("100-continue".equalsIgnoreCase(request.getHeader("expect"))) {
            request.response().writeContinue();
        }
    }

    /// An answer instead of the handler's.
    ///
    /// @param closes whether the connection is not used again
    private record Refusal(int status, HttpHeaders headers, String body, boolean closes) {}

    private static Refusal refusal(int status, String type, String message, HttpHeaders headers, boolean closes) {
        return new Refusal(
                status,
                headers,
                "{\"error\":{\"message\":\"" + message + "\",\"type\":\"" + type + "\",\"param\":null,\"code\":"
                        + status + "}}",
                closes);
    }

    /// Why the request's client may not go on.
    private Optional<Refusal> refusal() {
        if (!config.apiKeys().guard(request.method().name(), String.valueOf(request.path()))) {
            return Optional.empty();
        }
        Optional<ApiKey> shown = config.apiKeys().identify(Optional.ofNullable(request.getHeader("authorization")));
        if (shown.isEmpty()) {
            return Optional.of(new Refusal(401, HttpHeaders.none(), UNAUTHORIZED, true));
        }
        ApiKey.Admission admission = shown.get().admit(System.nanoTime());
        for (HttpHeaders.Field field : admission.headers().fields()) {
            request.response().putHeader(field.name(), field.value());
        }
        if (admission.isAdmitted()) {
            key = shown;
            return Optional.empty();
        }
        long millis = Math.max(1, admission.retryAfter().toMillis());
        HttpHeaders headers = HttpHeaders.of("retry-after", Long.toString(Math.ceilDiv(millis, 1000)))
                .with("retry-after-ms", Long.toString(millis));
        return Optional.of(refusal(429, "rate_limit_exceeded", admission.refusal(), headers, false));
    }

    /// The request is answered, or its client is gone.
    private void over() {
        if (!over) {
            over = true;
            key.ifPresent(ApiKey::release);
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

    private void answer(Refusal refusal) {
        json(refusal).end(refusal.body());
    }

    /// Answers at once and reads on for a moment.
    private void refuse(Refusal refusal) {
        refused = true;
        body = Buffer.buffer();
        vertx.cancelTimer(timer);
        HttpServerResponse response = json(refusal)
                .putHeader("content-length", Integer.toString(refusal.body().length())); // it is ASCII
        if (refusal.closes()) {
            response.putHeader("connection", "close");
        }
        response.write(refusal.body());
        timer = vertx.setTimer(LINGER_MILLIS, id -> request.connection().close());
    }

    private HttpServerResponse json(Refusal refusal) {
        HttpServerResponse response =
                request.response().setStatusCode(refusal.status()).putHeader("content-type", "application/json");
        for (HttpHeaders.Field field : refusal.headers().fields()) {
            response.putHeader(field.name(), field.value());
        }
        return response;
    }

    private void refuse(int status, String phrase) {
        refuse(refusal(status, phrase, message(status), HttpHeaders.none(), true));
    }

    private String message(int status) {
        return status == 413
                ? "The request body is larger than " + config.maxBodyBytes() + " bytes."
                : "The request body did not arrive within "
                        + config.bodyDeadline().toMillis() + " ms.";
    }

    private void finish(byte[] bytes) {
        HttpExchange exchange = new HttpExchange(vertx, config, request, bytes, key);
        whenEnded = exchange::ended;
        whenClosed = exchange::closed;
        try {
            handler.handle(exchange);
        } catch (RuntimeException | Error e) {
            exchange.fail(e);
        }
    }
}
