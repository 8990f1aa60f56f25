package dev.baton.http;

import io.netty.channel.EventLoop;
import io.netty.handler.ssl.SslContext;
import io.netty.util.concurrent.Future;
import io.vertx.core.internal.ContextInternal;
import io.vertx.core.internal.VertxInternal;
import java.net.ConnectException;
import java.net.URI;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/// A client with deadlines over pooled keep-alive connections. Nagle's algorithm is off. Thread-safe.
///
/// A call made on an event loop (inside an [HttpHandler]) stays on that loop.
public final class HttpClient implements AutoCloseable {
    private static final Set<String> SCHEMES = Set.of("http", "https");

    private final VertxInternal vertx;
    private final HostNames names;
    private final Optional<Tracer> tracer;
    private final HttpClientConfig config;
    private final Supplier<SslContext> tls;

    /// Connections belong to their event loop: with those of all in one, a call would get any, also one of another
    /// loop, whose every byte would then change threads.
    private final List<Loop> loops;

    private final AtomicInteger nextLoop = new AtomicInteger();

    HttpClient(VertxInternal vertx, List<ContextInternal> loops, Optional<Tracer> tracer, HttpClientConfig config) {
        this.tracer = tracer;
        this.vertx = vertx;
        this.names = new HostNames(vertx);
        this.config = config;
        this.tls = config.tls().read(vertx);
        int maxConnections = Math.ceilDiv(config.maxConnectionsPerHost(), loops.size());
        this.loops =
                loops.stream().map(context -> new Loop(context, maxConnections)).toList();
    }

    /// That of the calling thread, or else any.
    private Loop loop() {
        for (Loop loop : loops) {
            if (loop.isCurrent()) {
                return loop;
            }
        }
        return loops.get(Math.floorMod(nextLoop.getAndIncrement(), loops.size()));
    }

    /// The client's part on one event loop.
    final class Loop {
        private final ContextInternal context;
        private final Map<ConnectionPool.Origin, ConnectionPool> pools = new HashMap<>();
        private final int maxConnections;
        private boolean sweeps;
        private boolean closed;

        private Loop(ContextInternal context, int maxConnections) {
            this.context = context;
            this.maxConnections = maxConnections;
        }

        VertxInternal vertx() {
            return vertx;
        }

        ContextInternal context() {
            return context;
        }

        /// Whether the calling thread is its own.
        boolean isCurrent() {
            return context.nettyEventLoop().inEventLoop();
        }

        /// Runs a task on it, not at once.
        void later(Runnable task) {
            context.nettyEventLoop().execute(() -> context.dispatch(task));
        }

        HostNames names() {
            return names;
        }

        SslContext tls() {
            return tls.get();
        }

        int maxConnections() {
            return maxConnections;
        }

        int connectTimeoutMillis() {
            return Math.toIntExact(config.connectTimeout().toMillis());
        }

        private ConnectionPool pool(ConnectionPool.Origin origin) {
            return pools.computeIfAbsent(origin, to -> new ConnectionPool(to, this));
        }

        void forgetIfUnused(ConnectionPool.Origin origin, ConnectionPool pool) {
            if (pool.isUnused()) {
                pools.remove(origin, pool);
            }
        }

        /// Connections that nobody has used since then are not used any more, by [System#nanoTime()].
        long idleSinceNanos() {
            return System.nanoTime() - config.keepAlive().toNanos();
        }

        /// Ends connections that are not used, as long as there are any.
        void sweepLater() {
            if (!sweeps) {
                sweeps = true;
                vertx.setTimer(Math.max(1, config.keepAlive().toMillis() / 4), timer -> {
                    sweeps = false;
                    long since = idleSinceNanos();
                    boolean left = false;
                    for (ConnectionPool pool : List.copyOf(pools.values())) {
                        left |= pool.sweep(since);
                    }
                    if (left && !closed) {
                        sweepLater();
                    }
                });
            }
        }

        private void close() {
            closed = true;
            context.dispatch(() -> List.copyOf(pools.values()).forEach(ConnectionPool::close));
        }
    }

    /// Sends a request; the listener gets the response piece by piece.
    public HttpCall send(HttpClientRequest request, HttpResponseListener listener) {
        Optional<Span> span = tracer.flatMap(recording -> recording.call(request));
        return span.isEmpty()
                ? start(request, listener)
                : start(
                        request.withHeader(
                                TraceContext.HEADER, span.get().context().header()),
                        new TracedCall(span.get(), listener));
    }

    private HttpCall start(HttpClientRequest request, HttpResponseListener listener) {
        Loop loop = loop();
        Call call = new Call(loop, request, listener);
        try {
            // Not at once: who asked for it gets it before the first callback.
            loop.later(call::start);
        } catch (RejectedExecutionException e) {
            listener.onFailure(new HttpException(HttpException.Kind.CANCELLED, "the event loops have ended", e));
        }
        return call;
    }

    /// Sends a request and collects the response.
    ///
    /// @param maxBodyBytes largest body to take
    /// @return completes exceptionally with an [HttpException]
    public CompletableFuture<HttpClientResponse> exchange(HttpClientRequest request, long maxBodyBytes) {
        CompletableFuture<HttpClientResponse> result = new CompletableFuture<>();
        HttpCall call = send(request, new WholeResponse(maxBodyBytes, result::complete, result::completeExceptionally));
        CompletableFuture<?> ignored = result.whenComplete((response, failure) -> {
            if (failure != null) { // too large, or given up by the caller; an ended call does not mind
                call.cancel();
            }
        });
        return result;
    }

    /// Ends all connections and calls.
    @Override
    public void close() {
        List<Future<?>> ends = new ArrayList<>();
        for (Loop loop : loops) {
            EventLoop thread = loop.context.nettyEventLoop();
            if (thread.inEventLoop()) {
                loop.close();
            } else if (!thread.isShuttingDown()) {
                ends.add(thread.submit(loop::close));
            }
        }
        ends.forEach(Future::awaitUninterruptibly);
    }

    /// One call; all state belongs to its event loop.
    private static final class Call implements HttpCall, ConnectionPool.Caller, ClientConnection.User {
        private final Loop loop;
        private final HttpClientRequest request;
        private final HttpResponseListener listener;
        private @Nullable ClientConnection connection;
        private final long headNanos;
        private @Nullable Deadline wait; // for a connection
        private @Nullable ConnectionPool waitsAt;
        private boolean answered;
        private boolean paused;
        private boolean ended;

        private Call(Loop loop, HttpClientRequest request, HttpResponseListener listener) {
            this.loop = loop;
            this.request = request;
            this.listener = listener;
            this.headNanos = System.nanoTime() + request.firstByteDeadline().toNanos();
        }

        private void start() {
            if (ended) {
                return;
            }
            URI target = request.target();
            if (!SCHEMES.contains(String.valueOf(target.getScheme())) || target.getHost() == null) {
                fail(HttpException.Kind.CONNECT, "not an http:// or https:// address: " + target, null);
            } else if (loop.closed) {
                fail(HttpException.Kind.CANCELLED, "the client is closed", null);
            } else {
                loop.pool(ConnectionPool.Origin.of(target)).give(this);
            }
        }

        @Override
        public void waits(ConnectionPool here) {
            waitsAt = here;
            wait = new Deadline(loop.vertx(), this::late);
            wait.set(untilHead());
        }

        @Override
        public void refused(Throwable cause) {
            broke(cause, true);
        }

        private void endWait() {
            if (wait != null && waitsAt != null) {
                wait.close();
                waitsAt.leave(this);
                wait = null;
                waitsAt = null;
            }
        }

        private Duration untilHead() {
            return Duration.ofNanos(headNanos - System.nanoTime());
        }

        @Override
        public void got(ClientConnection its) {
            endWait();
            connection = its;
            its.takenBy(this);
            its.deadline().set(untilHead());
        }

        @Override
        public void ready(ClientConnection its) {
            try {
                its.send(request);
                if (paused) {
                    its.pause();
                }
            } catch (IllegalArgumentException e) {
                fail(HttpException.Kind.CONNECT, String.valueOf(e.getMessage()), e);
            }
        }

        @Override
        public void head(int status, HttpHeaders headers) {
            answered = true;
            moveDeadline();
            listener.onHead(status, headers);
        }

        @Override
        public void content(byte[] bytes) {
            moveDeadline();
            listener.onBytes(bytes);
        }

        private void moveDeadline() {
            if (connection != null) {
                if (paused) {
                    connection.deadline().suspend();
                } else {
                    connection.deadline().set(request.idleDeadline());
                }
            }
        }

        @Override
        public void end() {
            ended = true;
            connection = null;
            listener.onEnd();
        }

        @Override
        public void cancel() {
            onLoop(() -> fail(HttpException.Kind.CANCELLED, "the call was cancelled", null));
        }

        /// The idle deadline is the other side's: it does not run while this side does not want to read.
        @Override
        public void pause() {
            onLoop(() -> {
                paused = true;
                if (connection != null && connection.isConnected()) {
                    connection.pause();
                    if (answered) {
                        connection.deadline().suspend();
                    }
                }
            });
        }

        @Override
        public void resume() {
            onLoop(() -> {
                paused = false;
                ClientConnection its = connection;
                if (its != null && its.isConnected()) {
                    if (answered) {
                        moveDeadline();
                    }
                    its.resume();
                }
            });
        }

        private void onLoop(Runnable task) {
            if (loop.isCurrent()) {
                task.run();
            } else {
                loop.later(task);
            }
        }

        @Override
        public void broke(Throwable cause, boolean connecting) {
            HttpException.Kind kind =
                    connecting || cause instanceof ConnectException || cause instanceof UnknownHostException
                            ? HttpException.Kind.CONNECT
                            : HttpException.Kind.CLOSED;
            String what = kind == HttpException.Kind.CONNECT ? "cannot connect: " : "the connection ended: ";
            fail(kind, what + cause.getMessage(), cause);
        }

        private void fail(HttpException.Kind kind, String what, @Nullable Throwable cause) {
            if (ended) {
                return;
            }
            ended = true;
            endWait();
            if (connection != null) {
                connection.close();
                connection = null;
            }
            String message = request.method() + " " + request.target() + ": " + what;
            HttpException failure =
                    cause == null ? new HttpException(kind, message) : new HttpException(kind, message, cause);
            ClientConnection.guarded(() -> listener.onFailure(failure));
        }

        @Override
        public void late() {
            String what = answered
                    ? "nothing more of the response within "
                            + request.idleDeadline().toMillis()
                    : "no response within " + request.firstByteDeadline().toMillis();
            fail(HttpException.Kind.TIMEOUT, what + " ms", null);
        }
    }
}
