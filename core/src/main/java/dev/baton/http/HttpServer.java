package dev.baton.http;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.net.ServerSSLOptions;
import io.vertx.core.net.SocketAddress;
import java.net.BindException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A listening HTTP/1.1 server with limits, over TLS if it has a certificate. Nagle's algorithm is off.
/// Thread-safe.
///
/// A request to upgrade to HTTP/2 over clear text (h2c) is answered over HTTP/1.1, as RFC 9110, section 7.8,
/// allows: every limit counts per connection, and a connection carries one request at a time.
public final class HttpServer implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);

    /// Time between two looks at the files of certificates and keys.
    private static final Duration FILES_READ_EACH = Duration.ofSeconds(2);

    private static final Duration START_DEADLINE = Duration.ofSeconds(20);

    /// The loops' servers share a free port by asking for it under the same number.
    private static final AtomicInteger FREE_PORTS = new AtomicInteger();

    /// One for each event loop, on the same port: each accepted connection goes to the next of them.
    private final List<io.vertx.core.http.HttpServer> servers;

    private final Connections connections;

    private final Runnable stopReading;

    private HttpServer(List<io.vertx.core.http.HttpServer> servers, Connections connections, Runnable stopReading) {
        this.servers = servers;
        this.connections = connections;
        this.stopReading = stopReading;
    }

    static HttpServer start(
            Vertx vertx, List<Context> loops, Optional<Tracer> tracer, HttpServerConfig config, HttpHandler handler) {
        HttpServerOptions options = new HttpServerOptions()
                .setTcpNoDelay(true)
                .setReuseAddress(true)
                .setAcceptBacklog(1024)
                .setHttp2ClearTextEnabled(false)
                .setPerFrameWebSocketCompressionSupported(false)
                .setPerMessageWebSocketCompressionSupported(false)
                .setMaxHeaderSize(config.maxHeaderBytes())
                .setMaxInitialLineLength(8192);
        Optional<ServerSSLOptions> tls = config.tls().map(ServerTls::read);
        tls.ifPresent(read -> options.setSsl(true)
                .setKeyCertOptions(read.getKeyCertOptions())
                .setTrustOptions(read.getTrustOptions())
                .setClientAuth(read.getClientAuth()));
        Connections connections = new Connections(vertx, config);
        SocketAddress address = config.port() == 0
                ? SocketAddress.sharedRandomPort(FREE_PORTS.incrementAndGet(), config.host())
                : SocketAddress.inetSocketAddress(config.port(), config.host());
        List<io.vertx.core.http.HttpServer> servers = new ArrayList<>(loops.size());
        List<Future<?>> listening = new ArrayList<>(loops.size());
        for (Context loop : loops) {
            io.vertx.core.http.HttpServer server = vertx.createHttpServer(options)
                    .connectionHandler(connections::opened)
                    .requestHandler(
                            request -> new RequestReader(vertx, config, connections, tracer, request, handler).start());
            Promise<Object> listens = Promise.promise();
            loop.runOnContext(
                    ignored -> server.listen(address).<Object>mapEmpty().onComplete(listens));
            servers.add(server);
            listening.add(listens.future());
        }
        try {
            Future.join(listening).await(START_DEADLINE.toSeconds(), TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new HttpException(
                    HttpException.Kind.BIND,
                    "the server did not start listening on " + config.host() + ":" + config.port() + " within "
                            + START_DEADLINE.toSeconds() + " s",
                    e);
        } catch (RuntimeException e) {
            throw bindFailure(config, e);
        } catch (Exception e) { // await rethrows the bind failure unwrapped and undeclared
            throw bindFailure(config, e);
        }
        Runnable stopReadingTls = config.tls()
                .map(how -> readAgain(vertx, how, servers.getFirst()))
                .orElse(() -> {});
        Runnable stopReadingKeys = config.apiKeys().areReadAgain() ? readAgain(vertx, config.apiKeys()) : () -> {};
        return new HttpServer(List.copyOf(servers), connections, () -> {
            stopReadingTls.run();
            stopReadingKeys.run();
        });
    }

    /// Looks for changed keys from now on.
    ///
    /// @return ends it
    private static Runnable readAgain(Vertx vertx, ApiKeys keys) {
        long timer = vertx.setPeriodic(
                FILES_READ_EACH.toMillis(),
                id -> vertx.executeBlocking(
                                () -> {
                                    keys.readAgain();
                                    return keys;
                                },
                                true)
                        .onFailure(e -> LOG.error("the API keys were not read again", e)));
        return () -> vertx.cancelTimer(timer);
    }

    /// Looks for changed certificates from now on. The loops' servers share one port, and so what the first one
    /// has.
    ///
    /// @return ends it
    private static Runnable readAgain(Vertx vertx, ServerTls tls, io.vertx.core.http.HttpServer server) {
        long timer = vertx.setPeriodic(
                FILES_READ_EACH.toMillis(),
                id -> vertx.executeBlocking(tls::read, false)
                        .compose(server::updateSSLOptions)
                        .onSuccess(changed -> {
                            if (changed) {
                                LOG.info("{} has changed and is used from now on", tls.certificate());
                            }
                        })
                        .onFailure(e -> LOG.warn(
                                "{} cannot be used, the one before it is kept: {}",
                                tls.certificate(),
                                e.getMessage())));
        return () -> vertx.cancelTimer(timer);
    }

    private static HttpException bindFailure(HttpServerConfig config, Exception cause) {
        // The native transport names the system call instead of throwing the JDK's exception.
        boolean bindFailed = cause instanceof BindException
                || String.valueOf(cause.getMessage()).startsWith("bind(");
        if (config.tls().isPresent() && !bindFailed) {
            return new HttpException(
                    HttpException.Kind.BIND,
                    "certificate " + config.tls().get().certificate() + " and key "
                            + config.tls().get().key() + " cannot be used: " + cause.getMessage(),
                    cause);
        }
        String reason = bindFailed
                ? "port " + config.port() + " on " + config.host()
                        + " is in use by another process or not allowed; stop that process or pass another --port"
                : "cannot listen on " + config.host() + ":" + config.port() + ": " + cause.getMessage();
        return new HttpException(HttpException.Kind.BIND, reason, cause);
    }

    /// The port that is bound, also if any free one was asked for.
    public int port() {
        return servers.getFirst().actualPort();
    }

    /// Connections open now.
    public int numConnections() {
        return connections.count();
    }

    /// Stops accepting at once, lets requests in flight end until `grace` is over, then closes every connection.
    public void stop(Duration grace) {
        stopReading.run();
        try {
            List<Future<Void>> ends = servers.stream()
                    .map(server -> server.shutdown(Math.max(1, grace.toMillis()), TimeUnit.MILLISECONDS))
                    .toList();
            for (Future<Void> end : ends) {
                end.await(grace.toMillis() + 5_000, TimeUnit.MILLISECONDS);
            }
        } catch (TimeoutException e) {
            throw new HttpException(
                    HttpException.Kind.TIMEOUT, "the server did not stop within " + grace.toSeconds() + " s", e);
        }
    }

    /// Stops without grace.
    @Override
    public void close() {
        stop(Duration.ZERO);
    }
}
