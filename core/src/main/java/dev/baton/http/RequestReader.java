package dev.baton.http;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
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
    private final Optional<Tracer> tracer;
    private final HttpServerRequest request;
    private final HttpHandler handler;
    private Buffer body = Buffer.buffer();
    private Optional<ApiKey> key = Optional.empty();
    private boolean holdsPlace;
    private boolean refused;
    private boolean refusedForGood;
    private boolean over;
    private long timer;
    private Runnable whenEnded = () -> {};
    private Runnable whenClosed = () -> {};

    RequestReader(
            Vertx vertx,
            HttpServerConfig config,
            Connections connections,
            Optional<Tracer> tracer,
            HttpServerRequest request,
            HttpHandler handler) {
        this.vertx = vertx;
        this.config = config;
        this.connections = connections;
        this.tracer = tracer;
        this.request = request;
        this.handler = handler;
    }

    void start() {
        if (!connections.requestStarted(request.connection())) {
            return;
        }
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
        Optional<Refusal> malformed = malformed();
        if (malformed.isEmpty() && config.cors().handle(request)) {
            return;
        }
        Optional<Refusal> refusal = malformed.or(this::refusal);
        String length = request.getHeader("content-length");
        if (!hasBody()) {
            refusal.ifPresentOrElse(this::answer, () -> finish(EMPTY));
            return;
        }
        timer = vertx.setTimer(Math.max(1, config.bodyDeadline().toMillis()), id -> late());
        request.exceptionHandler(e -> vertx.cancelTimer(timer));
        request.handler(this::onBytes);
        request.endHandler(end -> {
            vertx.cancelTimer(timer);
            if (refused) {
                end(request.response().end(), refusedForGood);
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

    private boolean hasBody() {
        return request.headers().contains("content-length") || request.headers().contains("transfer-encoding");
    }

    /// An answer instead of the handler's.
    ///
    /// @param reason for the log
    /// @param closes whether the connection is not used again
    private record Refusal(int status, HttpHeaders headers, String reason, String body, boolean closes) {}

    private static Refusal refusal(int status, String type, String message, HttpHeaders headers, boolean closes) {
        return new Refusal(
                status,
                headers,
                message,
                "{\"error\":{\"message\":\"" + message + "\",\"type\":\"" + type + "\",\"param\":null,\"code\":"
                        + status + "}}",
                closes);
    }

    /// What the decoder lets through although it is no request: more than one host or none, or a target with
    /// bytes that none can have.
    private Optional<Refusal> malformed() {
        int hosts = request.headers().getAll("host").size();
        boolean needsHost = request.version() == HttpVersion.HTTP_1_1;
        if (hosts > 1
                || (hosts == 0 && needsHost)
                || request.headers().contains("")
                || request.uri().chars().anyMatch(c -> c <= ' ' || c == 0x7f)) {
            return Optional.of(
                    refusal(400, "Bad Request", "The request's head is malformed.", HttpHeaders.none(), true));
        }
        return Optional.empty();
    }

    /// The deadline of the body is over; what has arrived may have earned it more.
    private void late() {
        long earnedMillis = body.length() * 1000L / config.minBodyBytesPerSecond();
        long leftMillis = config.bodyDeadline().toMillis()
                + earnedMillis
                - TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - startNanos);
        if (leftMillis > 0) {
            timer = vertx.setTimer(leftMillis, id -> late());
        } else {
            refuse(408, "Request Timeout");
        }
    }

    /// Why the request's client may not go on.
    private Optional<Refusal> refusal() {
        if (!config.apiKeys().guard(request.method().name(), String.valueOf(request.path()))) {
            return Optional.empty();
        }
        Optional<ApiKey> shown = config.apiKeys().identify(Optional.ofNullable(request.getHeader("authorization")));
        if (shown.isEmpty()) {
            return Optional.of(new Refusal(
                    401, HttpHeaders.none(), "No API key was shown, or an unknown one.", UNAUTHORIZED, hasBody()));
        }
        key = shown;
        if (!request.method().equals(HttpMethod.POST)) {
            return Optional.empty(); // limits are for work, and to ask for the models' names is none
        }
        ApiKey.Admission admission = shown.get().admit(System.nanoTime());
        for (HttpHeaders.Field field : admission.headers().fields()) {
            request.response().putHeader(field.name(), field.value());
        }
        if (admission.isAdmitted()) {
            holdsPlace = true;
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
            if (holdsPlace) {
                key.ifPresent(ApiKey::release);
            }
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
        tell(refusal);
        end(json(refusal).end(refusal.body()), refusal.closes());
    }

    private void end(Future<Void> written, boolean closes) {
        if (closes) {
            written.onComplete(result -> request.connection().close());
        }
    }

    /// Answers at once and reads on for a moment.
    private void refuse(Refusal refusal) {
        refused = true;
        refusedForGood = refusal.closes();
        body = Buffer.buffer();
        vertx.cancelTimer(timer);
        tell(refusal);
        HttpServerResponse response = json(refusal)
                .putHeader("content-length", Integer.toString(refusal.body().length())); // it is ASCII
        response.write(refusal.body());
        timer = vertx.setTimer(LINGER_MILLIS, id -> request.connection().close());
    }

    private void tell(Refusal refusal) {
        handler.refused(new HttpRefusal(
                String.valueOf(request.remoteAddress()),
                String.valueOf(request.method()),
                String.valueOf(request.path()),
                refusal.status(),
                refusal.reason(),
                key.map(ApiKey::name).orElse(""),
                Duration.ofNanos(System.nanoTime() - startNanos)));
    }

    private HttpServerResponse json(Refusal refusal) {
        HttpServerResponse response =
                request.response().setStatusCode(refusal.status()).putHeader("content-type", "application/json");
        for (HttpHeaders.Field field : refusal.headers().fields()) {
            response.putHeader(field.name(), field.value());
        }
        if (refusal.closes()) {
            connections.takeNoMore(request.connection());
            response.putHeader("connection", "close");
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
                        + config.bodyDeadline().toMillis() + " ms, and "
                        + config.minBodyBytesPerSecond() + " bytes a second after that.";
    }

    private void finish(byte[] bytes) {
        Optional<Span> span = tracer.flatMap(recording -> recording.request(
                request.method().name(),
                String.valueOf(request.path()),
                Optional.ofNullable(request.getHeader(TraceContext.HEADER)),
                startNanos));
        HttpExchange exchange = new HttpExchange(vertx, config, request, bytes, key, span);
        whenEnded = exchange::ended;
        whenClosed = exchange::closed;
        try {
            handler.handle(exchange);
        } catch (RuntimeException | Error e) {
            exchange.fail(e);
        }
    }
}
