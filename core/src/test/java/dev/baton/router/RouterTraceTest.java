package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import java.net.URI;
import java.net.http.HttpRequest;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/// One trace for a request and both its legs, as a collector gets it.
@Timeout(60)
class RouterTraceTest {
    private static final String BODY = "{\"prompt\":\"CANARY\",\"max_tokens\":3,\"stream\":true}";
    private static final String TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
    private static final String PARENT = "00f067aa0ba902b7";

    private final Queue<JsonNode> spans = new ConcurrentLinkedQueue<>();
    private final Queue<String> received = new ConcurrentLinkedQueue<>();
    private final HttpRuntime runtime = HttpRuntime.start(1);
    private final HttpServer collector = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), exchange -> {
        JsonNode json = Json.parse(exchange.body());
        received.add(json.toString());
        json.findValues("spans").forEach(list -> list.forEach(spans::add));
        exchange.respondJson(200, "{}".getBytes(java.nio.charset.StandardCharsets.UTF_8));
    });

    @AfterEach
    void close() {
        runtime.close();
    }

    private Optional<URI> endpoint() {
        return Optional.of(URI.create("http://127.0.0.1:" + collector.port() + "/v1/traces"));
    }

    private JsonNode span(String name) {
        return spans.stream()
                .filter(span -> span.path("name").asString("").equals(name))
                .findFirst()
                .orElseThrow(() -> new AssertionError(name + " is not among " + spans));
    }

    private static String attribute(JsonNode span, String key) {
        return span.path("attributes")
                .valueStream()
                .filter(entry -> entry.path("key").asString("").equals(key))
                .map(entry -> entry.path("value").toString())
                .findFirst()
                .orElse("");
    }

    @Test
    void legsAreUnderTheRequestAndTheRequestUnderTheClientsSpan() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.tracesEndpoint(endpoint()))) {
            fleet.send(fleet.request("/v1/completions")
                    .header("content-type", "application/json")
                    .header("traceparent", "00-" + TRACE + "-" + PARENT + "-01")
                    .POST(HttpRequest.BodyPublishers.ofString(BODY)));
            await().atMost(Duration.ofSeconds(20)).until(() -> spans.size() >= 4);
            JsonNode request = span("POST /v1/completions");
            JsonNode prefill = span("prefill");
            JsonNode decode = span("decode");
            assertThat(spans)
                    .allSatisfy(span ->
                            assertThat(span.path("traceId").asString("")).isEqualTo(TRACE));
            assertThat(request.path("parentSpanId").asString("")).isEqualTo(PARENT);
            JsonNode route = span("route");
            assertThat(route.path("parentSpanId")).isEqualTo(request.path("spanId"));
            assertThat(time(route, "end")).isLessThanOrEqualTo(time(prefill, "start") + 1_000_000);
            for (JsonNode leg : List.of(prefill, decode)) {
                assertThat(leg.path("parentSpanId")).isEqualTo(request.path("spanId"));
                assertThat(time(leg, "start")).isGreaterThanOrEqualTo(time(request, "start") - 1_000_000);
                assertThat(time(leg, "end")).isGreaterThanOrEqualTo(time(leg, "start"));
                assertThat(attribute(leg, "http.response.status_code")).contains("200");
            }
            assertThat(time(prefill, "end")).isLessThanOrEqualTo(time(decode, "start") + 1_000_000);
            assertThat(decode.at("/events/0/name").asString("")).isEqualTo("first bytes");
            assertThat(fleet.prefiller(0).received.element().headers().get("traceparent"))
                    .isEqualTo("00-" + TRACE + "-" + prefill.path("spanId").asString("") + "-01");
            assertThat(fleet.decoder(0).received.element().headers().get("traceparent"))
                    .isEqualTo("00-" + TRACE + "-" + decode.path("spanId").asString("") + "-01");
            assertThat(received.toString()).contains("baton-router").doesNotContain("CANARY");
        }
    }

    private static long time(JsonNode span, String which) {
        return Long.parseLong(span.path(which + "TimeUnixNano").asString(""));
    }

    @Test
    void requestWithoutATraceBeginsOneAndEachHasItsOwn() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.tracesEndpoint(endpoint()))) {
            fleet.complete(BODY);
            fleet.complete(BODY);
            await().atMost(Duration.ofSeconds(20)).until(() -> spans.size() >= 8);
            assertThat(spans.stream().map(span -> span.path("traceId").asString("")))
                    .hasSize(8)
                    .doesNotContain("");
            assertThat(spans.stream()
                            .map(span -> span.path("traceId").asString(""))
                            .distinct())
                    .hasSize(2);
        }
    }

    @Test
    void traceThatIsNotSampledIsHandedOnAndNotRecorded() throws Exception {
        String traceparent = "00-" + TRACE + "-" + PARENT + "-00";
        try (Fleet fleet = new Fleet(1, 1, config -> config.tracesEndpoint(endpoint()))) {
            fleet.send(fleet.request("/v1/completions")
                    .header("content-type", "application/json")
                    .header("traceparent", traceparent)
                    .POST(HttpRequest.BodyPublishers.ofString(BODY)));
            assertThat(fleet.decoder(0).received.element().headers().get("traceparent"))
                    .isEqualTo(traceparent);
            Thread.sleep(1_200);
            assertThat(spans).isEmpty();
        }
    }

    @Test
    void failedLegAndClientThatLeavesAreSeen() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.tracesEndpoint(endpoint()))) {
            fleet.prefiller(0).script = call -> call.respond(500, "text/plain", "");
            fleet.complete(BODY);
            await().atMost(Duration.ofSeconds(20)).until(() -> spans.size() >= 4);
            assertThat(span("prefill").at("/status/code").asInt(0)).isEqualTo(2);
            assertThat(span("decode").at("/status").isEmpty()).isTrue();
        }
    }

    @Test
    void deadCollectorHarmsNoRequest() throws Exception {
        Optional<URI> nobody = Optional.of(URI.create("http://127.0.0.1:1/v1/traces"));
        try (Fleet fleet = new Fleet(1, 1, config -> config.tracesEndpoint(nobody))) {
            for (int i = 0; i < 3; i++) {
                assertThat(fleet.complete(BODY).statusCode()).isEqualTo(200);
            }
        }
    }
}
