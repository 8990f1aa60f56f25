package dev.baton.http;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One request, complete with its body, and the way to answer it: once, either whole with [#respond] or as a stream
/// with [#startStream].
///
/// Thread-safe: answering hops to the exchange's event loop; callbacks are called there.
public final class HttpExchange {
    private static final Logger LOG = LoggerFactory.getLogger(HttpExchange.class);

    /// Why a response did not get through to its client.
    public enum Gone {
        /// The client closed its connection.
        CLIENT_CLOSED,
        /// The client read too slowly: its buffer was full, or a write took longer than the deadline.
        TOO_SLOW
    }

    private final HttpServerConfig config;
    private final HttpServerRequest request;
    private final HttpServerResponse response;
    private final byte[] body;
    private final Optional<ApiKey> key;
    private final Optional<Span> span;
    private final long arrivalNanos = System.nanoTime();
    private final Context context;
    private final Thread loop;
    private final WriteWatch writeWatch;
    // event loop only
    private final List<Consumer<Gone>> goneListeners = new ArrayList<>(1);
    private final List<Consumer<Ended>> endListeners = new ArrayList<>(1);
    private final List<IntConsumer> answerListeners = new ArrayList<>(1);
    private boolean answered;
    private Gone goneReason = Gone.CLIENT_CLOSED;
    private boolean gone;

    HttpExchange(
            Vertx vertx,
            HttpServerConfig config,
            HttpServerRequest request,
            byte[] body,
            Optional<ApiKey> key,
            Optional<Span> span) {
        this.key = key;
        this.span = span;
        this.config = config;
        this.request = request;
        this.response = request.response();
        this.body = body;
        this.context = vertx.getOrCreateContext();
        this.loop = Thread.currentThread();
        this.writeWatch = new WriteWatch(vertx, config.writeDeadline(), () -> cutOff(Gone.TOO_SLOW));
        response.exceptionHandler(e -> LOG.debug("response to {}: {}", path(), e.toString()));
    }

    public String method() {
        return request.method().name();
    }

    /// The path without the query, as it was sent.
    public String path() {
        String path = request.path();
        return path == null ? "" : path;
    }

    /// The path with the query, as it was sent.
    public String uri() {
        return request.uri();
    }

    /// The first value of a query parameter.
    public Optional<String> query(String name) {
        return Optional.ofNullable(request.getParam(name));
    }

    /// The first value of a header field. `traceparent` names this request's own span, if it has one: that is what
    /// calls on its behalf are under.
    public Optional<String> header(String name) {
        if (span.isPresent() && name.equalsIgnoreCase(TraceContext.HEADER)) {
            return Optional.of(span.get().context().header());
        }
        return Optional.ofNullable(request.getHeader(name));
    }

    public HttpHeaders headers() {
        List<HttpHeaders.Field> fields = new ArrayList<>(request.headers().size());
        for (Map.Entry<String, String> entry : request.headers()) {
            fields.add(new HttpHeaders.Field(entry.getKey(), entry.getValue()));
        }
        return HttpHeaders.of(fields);
    }

    /// The whole body; empty if there is none. Not to be changed.
    public byte[] body() {
        return body;
    }

    /// The key that the client showed, where one is needed.
    public Optional<ApiKey> apiKey() {
        return key;
    }

    /// The span that records this request, if one does.
    public Optional<Span> span() {
        return span;
    }

    /// When the request was complete, by [System#nanoTime()].
    public long arrivalNanos() {
        return arrivalNanos;
    }

    /// The client's address, for the access log.
    public String remoteAddress() {
        return String.valueOf(request.remoteAddress());
    }

    /// Runs a task on this exchange's event loop: at once if called from there, else as soon as it is free.
    public void execute(Runnable task) {
        if (Thread.currentThread().equals(loop)) {
            task.run();
        } else {
            context.runOnContext(ignored -> task.run());
        }
    }

    /// Runs a task on this exchange's event loop after what is queued there now.
    public void executeLater(Runnable task) {
        context.runOnContext(ignored -> task.run());
    }

    /// Runs a task on this exchange's event loop when some time has passed. Event loop only.
    ///
    /// @return ends the wait; repeating it does nothing
    public Runnable executeAfter(Duration delay, Runnable task) {
        Vertx vertx = context.owner();
        long timer = vertx.setTimer(Math.max(1, delay.toMillis()), id -> task.run());
        return () -> vertx.cancelTimer(timer);
    }

    /// Registers what to do when the response cannot be completed because the client is gone or too slow; called at
    /// most once, on the event loop; at once if it has happened already. Not called after a completed response.
    public void onGone(Consumer<Gone> listener) {
        execute(() -> {
            if (gone) {
                listener.accept(goneReason);
            } else {
                goneListeners.add(listener);
            }
        });
    }

    /// Adds a field to the head of whatever answer follows, in place of one of that name.
    public void setResponseHeader(String name, String value) {
        execute(() -> {
            if (!answered && !gone) {
                response.putHeader(name, value);
            }
        });
    }

    /// Registers what to do when an answer begins, with its status; called on the event loop.
    public void onAnswer(IntConsumer listener) {
        execute(() -> answerListeners.add(listener));
    }

    /// What an answer came to.
    ///
    /// @param bodyBytes without its head
    public record Ended(int status, long bodyBytes) {}

    /// Registers what to do when an answer is complete; called on the event loop. An answer that could not be
    /// completed ends with [#onGone].
    public void onEnd(Consumer<Ended> listener) {
        execute(() -> endListeners.add(listener));
    }

    /// The response is complete. Event loop only.
    void ended() {
        Ended how = new Ended(response.getStatusCode(), response.bytesWritten());
        endListeners.forEach(listener -> listener.accept(how));
        span.ifPresent(Span::end);
    }

    /// Answers with a whole body. Does nothing if the exchange is answered already or the client is gone.
    public void respond(int status, HttpHeaders headers, byte[] bytes) {
        execute(() -> {
            if (claim()) {
                head(status, headers);
                watchWrite(response.end(Buffer.buffer(bytes)));
            }
        });
    }

    /// Answers with JSON.
    public void respondJson(int status, byte[] json) {
        respond(status, HttpHeaders.of("content-type", "application/json"), json);
    }

    /// Answers with plain text.
    public void respondText(int status, String text) {
        respond(
                status,
                HttpHeaders.of("content-type", "text/plain; charset=utf-8"),
                text.getBytes(StandardCharsets.UTF_8));
    }

    /// Answers with a status and nothing else.
    public void respondEmpty(int status) {
        respond(status, HttpHeaders.none(), new byte[0]);
    }

    /// Begins an answer of unknown length. The head goes out with the first bytes written. A client that speaks
    /// HTTP/1.0 knows no chunks: its connection's end is the answer's end.
    ///
    /// @throws IllegalStateException if the exchange is answered already
    public HttpStream startStream(int status, HttpHeaders headers) {
        HttpStream stream = new HttpStream(config, this, response);
        execute(() -> {
            if (claim()) {
                head(status, headers);
                if (endsWithConnection()) {
                    // By then the server has announced what the client asked for.
                    response.headersEndHandler(written -> response.headers().set("connection", "close"));
                } else {
                    response.setChunked(true);
                }
            } else if (!gone) {
                throw new IllegalStateException("the request was answered already");
            }
        });
        return stream;
    }

    private boolean endsWithConnection() {
        return request.version() == HttpVersion.HTTP_1_0;
    }

    /// Cuts the connection, so that the client sees an incomplete response.
    public void reset() {
        execute(() -> request.connection().close());
    }

    private boolean claim() {
        if (answered || gone || response.closed()) {
            return false;
        }
        answered = true;
        return true;
    }

    private void head(int status, HttpHeaders headers) {
        span.ifPresent(recording -> began(recording, status));
        answerListeners.forEach(listener -> listener.accept(status));
        response.setStatusCode(status);
        for (HttpHeaders.Field field : headers.fields()) {
            response.headers().add(field.name(), field.value());
        }
    }

    private static void began(Span span, int status) {
        span.event("answer begins");
        span.attribute("http.response.status_code", status);
        if (status >= 500) {
            span.fail("status " + status);
        }
    }

    /// Answers 500 to a handler's bug.
    void fail(Throwable cause) {
        LOG.error("{} {} failed", method(), path(), cause);
        respond(
                500,
                HttpHeaders.of("content-type", "text/plain; charset=utf-8"),
                "Internal Server Error".getBytes(StandardCharsets.UTF_8));
    }

    void watchWrite(Future<Void> written) {
        writeWatch.watch(written);
    }

    void watchLastWrite(Future<Void> written) {
        watchWrite(written);
        if (endsWithConnection()) {
            written.onComplete(result -> request.connection().close());
        }
    }

    void cutOff(Gone reason) {
        execute(() -> {
            if (!gone) {
                notifyGone(reason);
                request.connection().close();
            }
        });
    }

    /// The connection ended. Event loop only.
    void closed() {
        if (!gone && !response.ended()) {
            notifyGone(Gone.CLIENT_CLOSED);
        }
    }

    private void notifyGone(Gone reason) {
        gone = true;
        span.ifPresent(recording -> {
            recording.fail(String.valueOf(reason));
            recording.end();
        });
        goneReason = reason;
        for (Consumer<Gone> listener : goneListeners) {
            listener.accept(reason);
        }
    }

    boolean isGone() {
        return gone;
    }
}
