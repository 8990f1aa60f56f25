package dev.baton.http;

import io.vertx.core.Context;
import io.vertx.core.Deployable;
import io.vertx.core.DeploymentOptions;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.dns.AddressResolverOptions;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.core.internal.ContextInternal;
import io.vertx.core.internal.VertxInternal;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;

/// The event loops that servers and clients of one process share. A server's connections are dealt out to them in
/// turn, and a request stays on the loop of its connection with every call that is made for it, so that a proxied
/// byte never changes threads. Thread-safe. Closing it closes what was made from it.
public final class HttpRuntime implements AutoCloseable {
    private static final int MAX_NAME_AGE_SECONDS = 5;
    private static final int HOSTS_REFRESH_MILLIS = 1000;

    private final Vertx vertx;
    private final List<Context> loops;
    private volatile Optional<Tracer> tracer = Optional.empty();

    private HttpRuntime(Vertx vertx, List<Context> loops) {
        this.vertx = vertx;
        this.loops = loops;
    }

    /// Starts one event loop for each processor.
    public static HttpRuntime start() {
        return start(Runtime.getRuntime().availableProcessors());
    }

    /// Starts the event loops.
    ///
    /// @param eventLoops number of event-loop threads, at least 1
    public static HttpRuntime start(int eventLoops) {
        return start(eventLoops, new AddressResolverOptions());
    }

    /// The same with other name servers or another table of hosts. Addresses that change must be seen soon.
    static HttpRuntime start(int eventLoops, AddressResolverOptions names) {
        VertxOptions options = new VertxOptions()
                .setAddressResolverOptions(names.setCacheMaxTimeToLive(MAX_NAME_AGE_SECONDS)
                        .setHostsRefreshPeriod(HOSTS_REFRESH_MILLIS)
                        .setHostsRefreshPeriodUnit(TimeUnit.MILLISECONDS))
                .setPreferNativeTransport(true) // epoll where it is there, else the JDK's selectors
                .setEventLoopPoolSize(eventLoops)
                .setWorkerPoolSize(1)
                .setInternalBlockingPoolSize(2)
                .setFileSystemOptions(
                        new FileSystemOptions().setFileCachingEnabled(false).setClassPathResolvingEnabled(false));
        Vertx vertx = Vertx.vertx(options);
        List<Context> loops = new CopyOnWriteArrayList<>();
        // Contexts that are made one after the other lie on different loops.
        vertx.deployVerticle(() -> loopOf(loops), new DeploymentOptions().setInstances(eventLoops))
                .await();
        return new HttpRuntime(vertx, List.copyOf(loops));
    }

    private static Deployable loopOf(List<Context> loops) {
        return context -> {
            loops.add(context);
            return Future.succeededFuture();
        };
    }

    /// Number of event loops.
    public int eventLoops() {
        return loops.size();
    }

    /// Records what servers and clients made from now on do, as traces of OpenTelemetry: a span for each POST under
    /// `/v1/`, and one for each call that carries the former's `traceparent`.
    ///
    /// @param endpoint where a collector takes OTLP in JSON, for example `http://localhost:4318/v1/traces`
    /// @param service the name of this process's service
    /// @param nameOfCall gives a call's span a name, by the call's target
    public void traceTo(URI endpoint, String service, Function<URI, String> nameOfCall) {
        HttpClient client = client(HttpClientConfig.defaults());
        tracer = Optional.of(new Tracer(this, client, endpoint, service, nameOfCall));
    }

    /// Starts a server; returns once it listens.
    ///
    /// @throws HttpException of kind [HttpException.Kind#BIND], in one sentence, if it cannot
    public HttpServer serve(HttpServerConfig config, HttpHandler handler) {
        return HttpServer.start(vertx, loops, tracer, config, handler);
    }

    /// Makes a client with its own pool of connections.
    public HttpClient client(HttpClientConfig config) {
        return new HttpClient(
                (VertxInternal) vertx,
                loops.stream().map(ContextInternal.class::cast).toList(),
                tracer,
                config);
    }

    /// Runs a task on an event loop every `period` until the handle is closed. The task must not block.
    public AutoCloseable every(Duration period, Runnable task) {
        long timer = vertx.setPeriodic(period.toMillis(), id -> task.run());
        return () -> vertx.cancelTimer(timer);
    }

    @Override
    public void close() {
        tracer.ifPresent(Tracer::finish);
        try {
            vertx.close().await(10, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new HttpException(HttpException.Kind.TIMEOUT, "the event loops did not end within 10 s", e);
        }
    }
}
