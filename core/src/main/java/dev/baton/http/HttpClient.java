package dev.baton.http;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.PoolOptions;
import io.vertx.core.http.RequestOptions;
import io.vertx.core.internal.VertxInternal;
import io.vertx.core.net.ClientSSLOptions;
import io.vertx.core.net.SocketAddress;
import java.net.ConnectException;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A client with deadlines over pooled keep-alive connections. Nagle's algorithm is off. Thread-safe.
///
/// A call made on an event loop (inside an [HttpHandler]) stays on that loop.
public final class HttpClient implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HttpClient.class);

    private final Vertx vertx;
    private final HostNames names;
    private final Optional<Tracer> tracer;
    private final HttpClientConfig config;
    private final ClientSSLOptions tls;
    private final int maxConnectionsPerHostAndLoop;

    /// One pool for each event loop. A shared one would hand a call any connection, also one of another loop, whose
    /// every byte would then change threads, and would be locked by all.
    private final Map<Thread, io.vertx.core.http.HttpClient> clients = new ConcurrentHashMap<>();

    HttpClient(Vertx vertx, int eventLoops, Optional<Tracer> tracer, HttpClientConfig config) {
        this.tracer = tracer;
        this.vertx = vertx;
        this.names = new HostNames((VertxInternal) vertx);
        this.config = config;
        this.tls = config.tls().read();
        this.maxConnectionsPerHostAndLoop = Math.ceilDiv(config.maxConnectionsPerHost(), eventLoops);
    }

    private io.vertx.core.http.HttpClient ofThisLoop() {
        return clients.computeIfAbsent(Thread.currentThread(), loop -> pool());
    }

    private io.vertx.core.http.HttpClient pool() {
        HttpClientOptions options = new HttpClientOptions()
                .setTcpNoDelay(true)
                .setConnectTimeout(Math.toIntExact(config.connectTimeout().toMillis()))
                .setKeepAlive(true)
                .setKeepAliveTimeout(Math.toIntExact(config.keepAlive().toSeconds()))
                .setDecompressionSupported(false)
                .setPipelining(false);
        return vertx.httpClientBuilder()
                .with(options)
                .with(tls)
                .with(new PoolOptions()
                        .setHttp1MaxSize(maxConnectionsPerHostAndLoop)
                        .setMaxWaitQueueSize(-1))
                // An unused connection that breaks is no error; a used one reports to its call as well.
                .withConnectHandler(connection ->
                        connection.exceptionHandler(e -> LOG.debug("a connection broke: {}", e.toString())))
                .build();
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
        Call call = new Call(vertx, names, vertx.getOrCreateContext(), request, listener);
        call.context.runOnContext(ignored -> call.start(ofThisLoop()));
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

    @Override
    public void close() {
        Future.join(clients.values().stream()
                        .map(io.vertx.core.http.HttpClient::close)
                        .toList())
                .await();
    }

    /// One call; all state belongs to its context's event loop.
    private static final class Call implements HttpCall {
        private final HostNames names;
        private final Context context;
        private final HttpClientRequest request;
        private final HttpResponseListener listener;
        private io.vertx.core.http.@Nullable HttpClientRequest sent;
        private io.vertx.core.http.@Nullable HttpClientResponse response;
        private final Deadline deadline;
        private boolean answered;
        private volatile @Nullable Thread loop;
        private boolean paused;
        private boolean ended;

        private Call(
                Vertx vertx,
                HostNames names,
                Context context,
                HttpClientRequest request,
                HttpResponseListener listener) {
            this.names = names;
            this.context = context;
            this.request = request;
            this.listener = listener;
            this.deadline = new Deadline(vertx, this::late);
        }

        private void start(io.vertx.core.http.HttpClient client) {
            loop = Thread.currentThread();
            if (ended) {
                return;
            }
            URI target = request.target();
            boolean secure = "https".equals(target.getScheme());
            if ((!secure && !"http".equals(target.getScheme())) || target.getHost() == null) {
                fail(HttpException.Kind.CONNECT, "not an http:// or https:// address: " + target, null);
                return;
            }
            deadline.set(request.firstByteDeadline());
            String query = target.getRawQuery();
            String path = target.getRawPath() == null || target.getRawPath().isEmpty() ? "/" : target.getRawPath();
            RequestOptions options = new RequestOptions()
                    .setMethod(HttpMethod.valueOf(request.method()))
                    .setHost(target.getHost())
                    .setPort(target.getPort() < 0 ? (secure ? 443 : 80) : target.getPort())
                    .setSsl(secure)
                    .setURI(query == null ? path : path + "?" + query);
            if (HostNames.isAddress(options.getHost())) {
                connect(client, options);
            } else {
                names.find(
                        options.getHost(),
                        address -> {
                            if (!ended) {
                                options.setServer(SocketAddress.inetSocketAddress(options.getPort(), address));
                                connect(client, options);
                            }
                        },
                        e -> failed(e, true));
            }
        }

        private void connect(io.vertx.core.http.HttpClient client, RequestOptions options) {
            try {
                client.request(options).onComplete(this::connected, e -> failed(e, true));
            } catch (IllegalStateException e) { // the client was closed meanwhile
                fail(HttpException.Kind.CANCELLED, String.valueOf(e.getMessage()), e);
            }
        }

        private void connected(io.vertx.core.http.HttpClientRequest ready) {
            ready.exceptionHandler(e -> failed(e, false));
            if (ended) {
                ready.reset();
                return;
            }
            sent = ready;
            for (HttpHeaders.Field field : request.headers().fields()) {
                ready.headers().add(field.name(), field.value());
            }
            Future<io.vertx.core.http.HttpClientResponse> answer =
                    request.body().length == 0 && !request.method().equals("POST")
                            ? ready.send()
                            : ready.send(Buffer.buffer(request.body()));
            answer.onComplete(this::head, e -> failed(e, false));
        }

        private void head(io.vertx.core.http.HttpClientResponse head) {
            if (ended) {
                return;
            }
            response = head;
            List<HttpHeaders.Field> fields = new ArrayList<>(head.headers().size());
            for (Map.Entry<String, String> entry : head.headers()) {
                fields.add(new HttpHeaders.Field(entry.getKey(), entry.getValue()));
            }
            head.handler(bytes -> {
                if (!ended) {
                    deadline.set(request.idleDeadline());
                    listener.onBytes(bytes.getBytes());
                }
            });
            head.endHandler(end -> {
                if (!ended) {
                    ended = true;
                    deadline.close();
                    listener.onEnd();
                }
            });
            head.exceptionHandler(e -> failed(e, false));
            answered = true;
            deadline.set(request.idleDeadline());
            if (paused) {
                pauseNow(head);
            }
            listener.onHead(head.statusCode(), HttpHeaders.of(fields));
        }

        @Override
        public void cancel() {
            onLoop(() -> fail(HttpException.Kind.CANCELLED, "the call was cancelled", null));
        }

        @Override
        public void pause() {
            onLoop(() -> {
                paused = true;
                if (response != null) {
                    pauseNow(response);
                }
            });
        }

        /// The idle deadline is the other side's: it does not run while this side does not want to read.
        private void pauseNow(io.vertx.core.http.HttpClientResponse head) {
            head.pause();
            deadline.suspend();
        }

        @Override
        public void resume() {
            onLoop(() -> {
                paused = false;
                if (response != null && !ended) {
                    deadline.set(request.idleDeadline());
                    response.resume();
                }
            });
        }

        private void onLoop(Runnable task) {
            Thread current = Thread.currentThread();
            if (current.equals(loop)) {
                task.run();
            } else {
                context.runOnContext(ignored -> task.run());
            }
        }

        private void failed(Throwable cause, boolean connecting) {
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
            deadline.close();
            if (sent != null) {
                sent.reset();
            }
            String message = request.method() + " " + request.target() + ": " + what;
            listener.onFailure(
                    cause == null ? new HttpException(kind, message) : new HttpException(kind, message, cause));
        }

        private void late() {
            String what = answered
                    ? "nothing more of the response within "
                            + request.idleDeadline().toMillis()
                    : "no response within " + request.firstByteDeadline().toMillis();
            fail(HttpException.Kind.TIMEOUT, what + " ms", null);
        }
    }
}
