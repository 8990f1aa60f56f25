package dev.baton.router.backend;

import dev.baton.http.HttpException;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import java.time.Duration;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Telemetry of vLLM with LMCacheMPConnector: a prefiller posts to `/api/v1/telemetry` which requests' KV
/// caches it has stored, by its own ids, in which those of the router stand. Thread-safe.
///
/// Whoever reaches the port can announce; what nobody waits for is dropped, and ids cannot be guessed.
public final class StoreTelemetry implements Announcements {
    private static final String PATH = "/api/v1/telemetry";
    private static final String STORED = "request_store_finished";
    private static final int MAX_BODY_BYTES = 1 << 20;

    /// `X-Request-Id` in an engine's id: `cmpl-<id>-0-<8 hex>`, `chatcmpl-<id>`, and with either end left out.
    private static final Pattern ENGINE_ID =
            Pattern.compile("(?:cmpl-|chatcmpl-)?(.*?)(?:-[0-9]{1,9})?(?:-[0-9a-f]{8})?");

    private final Expectations expectations = new Expectations();
    private final HttpRuntime runtime;
    private final HttpServer server;

    private StoreTelemetry(HttpRuntime runtime, String host, int port) {
        this.runtime = runtime;
        server = runtime.serve(
                HttpServerConfig.builder(host, port)
                        .maxBodyBytes(MAX_BODY_BYTES)
                        .build(),
                this::handle);
    }

    /// Starts to receive; returns once it listens.
    ///
    /// @param port 0 for any free one
    /// @throws HttpException of kind [HttpException.Kind#BIND], in one sentence, if it cannot listen
    public static StoreTelemetry listen(String host, int port) {
        HttpRuntime runtime = HttpRuntime.start(1);
        try {
            return new StoreTelemetry(runtime, host, port);
        } catch (RuntimeException e) {
            runtime.close();
            throw e;
        }
    }

    /// The port it listens on.
    public int port() {
        return server.port();
    }

    private void handle(HttpExchange exchange) {
        if (!exchange.path().equals(PATH)) {
            exchange.respondText(404, "telemetry is posted to " + PATH);
        } else if (!exchange.method().equals("POST")) {
            exchange.respondText(405, "telemetry is posted");
        } else {
            try {
                received(exchange, Json.parse(exchange.body()));
            } catch (Json.MalformedException e) {
                exchange.respondText(400, "telemetry is not JSON: " + e.getMessage());
            }
        }
    }

    private void received(HttpExchange exchange, JsonNode event) {
        int notified = 0;
        JsonNode ids = event.path("request_ids_set");
        if (event.path("event").asString("").equals(STORED)) {
            for (JsonNode id : ids) {
                notified += announced(id.asString("")) ? 1 : 0;
            }
        }
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        answer.put("status", "ok").put("notified", notified).put("total", ids.size());
        exchange.respondJson(200, Json.bytes(answer));
    }

    private boolean announced(String id) {
        return expectations.announced(id)
                || requestId(id).filter(expectations::announced).isPresent();
    }

    /// The router's part of an engine's id.
    static Optional<String> requestId(String engineId) {
        Matcher matcher = ENGINE_ID.matcher(engineId);
        return matcher.matches() ? Optional.of(matcher.group(1)) : Optional.empty();
    }

    @Override
    public Expectation expect(String id, int times, Runnable heard) {
        return expectations.expect(id, times, heard);
    }

    @Override
    public void close() {
        try {
            server.stop(Duration.ZERO);
        } finally {
            runtime.close();
        }
    }
}
