package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.http.ApiKey;
import dev.baton.http.ApiKeys;
import dev.baton.http.HttpServerConfig;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// What the router makes of clients' keys.
@Timeout(60)
class RouterKeysTest {
    private static Fleet fleet(ApiKey... keys) throws IOException {
        return new Fleet(
                1,
                1,
                config -> config.server(HttpServerConfig.builder("127.0.0.1", 0)
                        .apiKeys(ApiKeys.none().and(List.of(keys)))
                        .build()));
    }

    private static HttpResponse<String> ask(Fleet fleet, String path, String key, String model) throws Exception {
        return fleet.send(fleet.request(path)
                .header("content-type", "application/json")
                .header("authorization", "Bearer " + key)
                .POST(HttpRequest.BodyPublishers.ofString(
                        "{\"prompt\":\"p\",\"max_tokens\":2,\"model\":\"" + model + "\"}")));
    }

    @Test
    void keyIsForItsModelsOnly() throws Exception {
        try (Fleet fleet = fleet(ApiKey.of("a", "sk-a").withLimits(0, 0, Set.of("llama")), ApiKey.of("b", "sk-b"))) {
            assertThat(ask(fleet, "/v1/completions", "sk-a", "llama").statusCode())
                    .isEqualTo(200);
            assertThat(ask(fleet, "/v1/completions", "sk-b", "qwen").statusCode())
                    .isEqualTo(200);
            HttpResponse<String> refused = ask(fleet, "/v1/completions", "sk-a", "qwen");
            assertThat(refused.statusCode()).isEqualTo(403);
            assertThat(refused.body()).contains("PermissionDeniedError").doesNotContain("sk-a");
            assertThat(fleet.prefiller(0).received).hasSize(2);
        }
    }

    /// It is between client and router, also where no key is wanted.
    @Test
    void keyOfTheRoutersOwnIsShownToNoEngine() throws Exception {
        try (Fleet fleet = fleet(ApiKey.of("a", "sk-a"))) {
            assertThat(ask(fleet, "/v1/completions", "sk-a", "m").statusCode()).isEqualTo(200);
            assertThat(ask(fleet, "/tokenize", "sk-a", "m").statusCode()).isEqualTo(200);
            List<StubEngine.Received> legs = fleet.engines().stream()
                    .flatMap(engine -> engine.received.stream())
                    .toList();
            assertThat(legs).hasSize(3).allSatisfy(leg -> {
                assertThat(leg.headers()).doesNotContainKey("authorization");
                assertThat(leg.text()).doesNotContain("sk-a");
            });
        }
    }

    @Test
    void enginesAreShownTheirOwnKeyInstead() throws Exception {
        HttpServerConfig server = HttpServerConfig.builder("127.0.0.1", 0)
                .apiKeys(ApiKeys.of(List.of("sk-a")))
                .build();
        try (Fleet fleet = new Fleet(1, 1, config -> config.server(server).engineKey(Optional.of("sk-engines")))) {
            assertThat(ask(fleet, "/v1/completions", "sk-a", "m").statusCode()).isEqualTo(200);
            for (StubEngine engine : fleet.engines()) {
                assertThat(engine.received.element().headers()).containsEntry("authorization", "Bearer sk-engines");
            }
        }
    }

    @Test
    void tokensOfAKeyAreCountedByWhatTheEngineSaysInTheEnd() throws Exception {
        try (Fleet fleet = fleet(ApiKey.of("a", "sk-a").withTokensPerMinute(1000), ApiKey.of("b", "sk-b"))) {
            fleet.decoder(0).script = call -> call.respond(
                    200,
                    "application/json",
                    "{\"choices\":[],\"usage\":{\"prompt_tokens\":300,\"completion_tokens\":350}}");
            for (int i = 0; i < 2; i++) {
                assertThat(ask(fleet, "/v1/completions", "sk-a", "m").statusCode())
                        .as("650 of 1000, then 1300")
                        .isEqualTo(200);
            }
            HttpResponse<String> refused = ask(fleet, "/v1/completions", "sk-a", "m");
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(refused.body()).contains("rate_limit_exceeded", "its limit is 1000 a minute");
            assertThat(Integer.parseInt(
                            refused.headers().firstValue("retry-after").orElseThrow()))
                    .isBetween(10, 20);
            assertThat(ask(fleet, "/v1/completions", "sk-b", "m").statusCode()).isEqualTo(200);
            assertThat(fleet.get("/metrics").body()).contains("baton_router_api_key_over_rate_total{key=\"a\"} 1.0");
        }
    }

    /// The estimate of a prompt that no engine computed is given back.
    @Test
    void refusedRequestCostsNoTokens() throws Exception {
        try (Fleet fleet = fleet(ApiKey.of("a", "sk-a").withTokensPerMinute(60))) {
            String body = "{\"prompt\":\"too long\",\"max_tokens\":2,\"user\":\"" + "x".repeat(150) + "\"}";
            for (int i = 0; i < 5; i++) {
                HttpResponse<String> refused = fleet.send(fleet.request("/v1/completions")
                        .header("content-type", "application/json")
                        .header("authorization", "Bearer sk-a")
                        .POST(HttpRequest.BodyPublishers.ofString(body)));
                assertThat(refused.statusCode()).as("the engine's own answer").isEqualTo(400);
            }
        }
    }

    @Test
    void metricsCountByTheKeysNameAndShowNoKey() throws Exception {
        try (Fleet fleet = fleet(ApiKey.of("team-a", "sk-a").withLimits(1, 0, Set.of()), ApiKey.of("team-b", "sk-b"))) {
            assertThat(ask(fleet, "/v1/completions", "sk-a", "m").statusCode()).isEqualTo(200);
            HttpResponse<String> refused = ask(fleet, "/v1/completions", "sk-a", "m");
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(refused.headers().firstValue("retry-after")).isPresent();
            assertThat(ask(fleet, "/v1/completions", "sk-b", "m").statusCode()).isEqualTo(200);
            assertThat(ask(fleet, "/v1/completions?api_key=sk-b", "sk-c", "m").statusCode())
                    .isEqualTo(401);
            String metrics = fleet.get("/metrics").body();
            assertThat(metrics)
                    .contains("baton_router_api_key_requests_total{key=\"team-a\"} 1.0")
                    .contains("baton_router_api_key_over_rate_total{key=\"team-a\"} 1.0")
                    .contains("baton_router_api_key_requests_total{key=\"team-b\"} 1.0")
                    .doesNotContain("sk-");
        }
    }
}
