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
    private final String key;
    private final EngineInfo engine;
    private final Duration timeToLive;
    private final HttpRuntime runtime;
    private final HttpClient client;

    /// @param base of the router, without a path
    /// @param key the router's admin key; empty for none
    HttpRegistry(URI base, String key, EngineInfo engine, Duration timeToLive) {
        this.base = base;
        this.key = key;
        this.engine = engine;
        this.timeToLive = timeToLive;
        runtime = HttpRuntime.start(1);
        client = runtime.client(HttpClientConfig.defaults());
    }

    @Override
    public void announce() throws InterruptedException {
        ObjectNode body = EngineJson.of(engine);
        body.put("ttl_seconds", timeToLive.toMillis() / 1000.0);
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
                            key.isEmpty() ? request : request.withHeader("authorization", "Bearer " + key), MAX_BYTES)
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
