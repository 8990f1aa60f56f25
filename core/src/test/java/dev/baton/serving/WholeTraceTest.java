package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.StaticEngines;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.router.Router;
import dev.baton.router.RouterConfig;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import dev.baton.transfer.KvRole;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/// A router and two real engines make one trace of a request that is handed off.
@Timeout(120)
class WholeTraceTest {
    @TempDir
    private Path directory;

    private final Queue<JsonNode> spans = new ConcurrentLinkedQueue<>();

    private JsonNode child(JsonNode parent, String name) {
        return spans.stream()
                .filter(span -> span.path("parentSpanId").equals(parent.path("spanId")))
                .filter(span -> span.path("name").asString("").equals(name))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no " + name + " under " + parent + " in " + spans));
    }

    @Test
    void requestLegsAndEnginesAreOneTree() throws Exception {
        try (HttpRuntime runtime = HttpRuntime.start(1)) {
            HttpServer collector = runtime.serve(HttpServerConfig.of("127.0.0.1", 0), exchange -> {
                Json.parse(exchange.body()).findValues("spans").forEach(list -> list.forEach(spans::add));
                exchange.respondJson(200, "{}".getBytes(StandardCharsets.UTF_8));
            });
            Optional<URI> endpoint = Optional.of(URI.create("http://127.0.0.1:" + collector.port() + "/v1/traces"));
            try (Instance prefiller = Instance.startWithConnector(
                            Files.createDirectory(directory.resolve("p")),
                            KvRole.KV_PRODUCER,
                            config -> config.tracesEndpoint(endpoint));
                    Instance decoder = Instance.startWithConnector(
                            Files.createDirectory(directory.resolve("d")),
                            KvRole.KV_CONSUMER,
                            config -> config.tracesEndpoint(endpoint));
                    Router router = Router.start(RouterConfig.builder(
                                    "127.0.0.1",
                                    0,
                                    new StaticEngines(
                                            List.of(new EngineAddress("127.0.0.1", prefiller.server.port())),
                                            List.of(new EngineAddress("127.0.0.1", decoder.server.port()))))
                            .policy(PolicyConfig.builder().mode(Mode.PD).build())
                            .tracesEndpoint(endpoint)
                            .build())) {
                String prompt = "the quick brown fox jumps over the lazy dog; ".repeat(4);
                try (HttpClient client = HttpClient.newHttpClient()) {
                    URI ready = URI.create("http://127.0.0.1:" + router.port() + "/ready");
                    await().atMost(Duration.ofSeconds(20))
                            .until(() -> client.send(
                                                    HttpRequest.newBuilder(ready)
                                                            .build(),
                                                    HttpResponse.BodyHandlers.discarding())
                                            .statusCode()
                                    == 200);
                    HttpResponse<String> answer = client.send(
                            HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + "/v1/completions"))
                                    .header("content-type", "application/json")
                                    .timeout(Duration.ofSeconds(30))
                                    .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"" + prompt
                                            + "\",\"max_tokens\":5,\"temperature\":0,\"stream\":true}"))
                                    .build(),
                            HttpResponse.BodyHandlers.ofString());
                    assertThat(answer.statusCode()).isEqualTo(200);
                }
                await().atMost(Duration.ofSeconds(20))
                        .untilAsserted(() -> assertThat(spans).hasSizeGreaterThanOrEqualTo(12));
                JsonNode request = spans.stream()
                        .filter(span -> !span.has("parentSpanId"))
                        .findFirst()
                        .orElseThrow();
                assertThat(spans)
                        .allSatisfy(span -> assertThat(span.path("traceId")).isEqualTo(request.path("traceId")));
                JsonNode prefill = child(child(request, "prefill"), "POST /v1/completions");
                JsonNode decode = child(child(request, "decode"), "POST /v1/completions");
                assertThat(attribute(prefill, "gen_ai.usage.completion_tokens")).contains("\"1\"");
                assertThat(attribute(decode, "gen_ai.usage.completion_tokens")).contains("\"5\"");
                assertThat(attribute(decode, "gen_ai.latency.time_to_first_token"))
                        .contains("doubleValue");
                assertThat(decode.path("events").findValuesAsString("name")).contains("first token");
                assertThat(names(prefill)).containsExactlyInAnyOrder("queue", "prefill");
                assertThat(names(decode)).containsExactlyInAnyOrder("queue", "transfer", "prefill", "decode");
                assertThat(names(request)).containsExactlyInAnyOrder("route", "prefill", "decode");
                long end = time(decode, "start");
                for (String part : List.of("queue", "transfer", "prefill", "decode")) {
                    JsonNode span = child(decode, part);
                    assertThat(time(span, "start")).as("%s follows", part).isGreaterThanOrEqualTo(end);
                    end = time(span, "end");
                    assertThat(end).isGreaterThanOrEqualTo(time(span, "start"));
                }
                assertThat(end).isLessThanOrEqualTo(time(decode, "end") + 1_000_000);
                assertThat(time(child(decode, "transfer"), "end"))
                        .as("blocks were fetched")
                        .isGreaterThan(time(child(decode, "transfer"), "start"));
                assertThat(attribute(decode, "gen_ai.latency.time_in_queue")).contains("doubleValue");
                assertThat(spans.toString()).doesNotContain("quick brown");
            }
        }
    }

    private List<String> names(JsonNode parent) {
        return spans.stream()
                .filter(span -> span.path("parentSpanId").equals(parent.path("spanId")))
                .map(span -> span.path("name").asString(""))
                .toList();
    }

    private static long time(JsonNode span, String which) {
        return Long.parseLong(span.path(which + "TimeUnixNano").asString(""));
    }

    private static String attribute(JsonNode span, String key) {
        return span.path("attributes")
                .valueStream()
                .filter(entry -> entry.path("key").asString("").equals(key))
                .map(entry -> entry.path("value").toString())
                .findFirst()
                .orElse("");
    }
}
