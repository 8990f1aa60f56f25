package dev.baton.http;

import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.file.FileSystemOptions;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/// The event loops that servers and clients of one process share, so that a proxied byte stays on one thread.
/// Thread-safe. Closing it closes what was made from it.
public final class HttpRuntime implements AutoCloseable {
    private final Vertx vertx;

    private HttpRuntime(Vertx vertx) {
        this.vertx = vertx;
    }

    /// Starts the event loops.
    ///
    /// @param eventLoops number of event-loop threads, at least 1
    public static HttpRuntime start(int eventLoops) {
        VertxOptions options = new VertxOptions()
                .setEventLoopPoolSize(eventLoops)
                .setWorkerPoolSize(1)
                .setInternalBlockingPoolSize(2)
                .setFileSystemOptions(
                        new FileSystemOptions().setFileCachingEnabled(false).setClassPathResolvingEnabled(false));
        return new HttpRuntime(Vertx.vertx(options));
    }

    /// Starts a server; returns once it listens.
    ///
    /// @throws HttpException of kind [HttpException.Kind#BIND], in one sentence, if it cannot
    public HttpServer serve(HttpServerConfig config, HttpHandler handler) {
        return HttpServer.start(vertx, config, handler);
    }

    /// Makes a client with its own pool of connections.
    public HttpClient client(HttpClientConfig config) {
        return new HttpClient(vertx, config);
    }

    /// Runs a task on an event loop every `period` until the handle is closed. The task must not block.
    public AutoCloseable every(Duration period, Runnable task) {
        long timer = vertx.setPeriodic(period.toMillis(), id -> task.run());
        return () -> vertx.cancelTimer(timer);
    }

    @Override
    public void close() {
        try {
            vertx.close().await(10, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new HttpException(HttpException.Kind.TIMEOUT, "the event loops did not end within 10 s", e);
        }
    }
}
