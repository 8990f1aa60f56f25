package dev.baton.discovery;

import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientConfig;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpRuntime;
import dev.baton.http.Json;
import java.net.URI;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import tools.jackson.databind.node.ObjectNode;

/// Registers at a router's `POST /instances/add`.
final class HttpRegistry implements Registry {
    private static final Duration DEADLINE = Duration.ofSeconds(2);
    private static final int MAX_BYTES = 64 << 10;

    private final URI base;
    private final EngineInfo engine;
    private final Registrar.Config config;
    private final HttpRuntime runtime;
    private final HttpClient client;

    /// @param base of the router, without a path
    /// @throws DiscoveryException if the certificates that it is known by cannot be read
    HttpRegistry(URI base, EngineInfo engine, Registrar.Config config) {
        this.base = base;
        this.engine = engine;
        this.config = config;
        runtime = HttpRuntime.start(1);
        try {
            client = runtime.client(new HttpClientConfig(DEADLINE, config.timeToLive(), 1, config.tls()));
        } catch (HttpException e) {
            runtime.close();
            throw new DiscoveryException(String.valueOf(e.getMessage()));
        }
    }

    @Override
    public void announce() throws InterruptedException {
        ObjectNode body = EngineJson.of(engine);
        body.put("ttl_seconds", config.timeToLive().toMillis() / 1000.0);
        post("/instances/add", body);
    }

    @Override
    public void withdraw() throws InterruptedException {
        ObjectNode body = EngineJson.of(engine);
        body.retain("address");
        post("/instances/remove", body);
    }

    private void post(String path, ObjectNode body) throws InterruptedException {
        HttpClientRequest request = HttpClientRequest.postJson(base.resolve(path), Json.bytes(body), DEADLINE);
        HttpClientResponse response;
        try {
            response = client.exchange(
                            config.adminKey().isEmpty()
                                    ? request
                                    : request.withHeader("authorization", "Bearer " + config.adminKey()),
                            MAX_BYTES)
                    .get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof HttpException failure) {
                throw new DiscoveryException(base + " does not answer: " + failure.getMessage());
            }
            throw new IllegalStateException("a registration met a bug", e);
        }
        if (response.status() != 200) {
            throw new DiscoveryException("%s answers %s with %d: %s"
                    .formatted(base, path, response.status(), response.text().strip()));
        }
    }

    @Override
    public void close() {
        runtime.close();
    }
}
