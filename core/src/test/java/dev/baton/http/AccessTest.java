package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Who is let in, and what browsers are told, by a real server.
@Timeout(60)
class AccessTest {
    private static final String KEY = "sk-first";

    private final HttpRuntime runtime = HttpRuntime.start(1);
    private final java.net.http.HttpClient client = java.net.http.HttpClient.newHttpClient();
    private final AtomicInteger handled = new AtomicInteger();

    @AfterEach
    void close() {
        client.close();
        runtime.close();
    }

    private HttpServer serve(HttpServerConfig.Builder config) {
        return runtime.serve(config.build(), exchange -> {
            handled.incrementAndGet();
            exchange.respondText(200, "done");
        });
    }

    private HttpServer guarded() {
        return serve(HttpServerConfig.builder("127.0.0.1", 0).apiKeys(ApiKeys.of(List.of(KEY, "sk-second"))));
    }

    private HttpResponse<String> send(HttpServer server, String method, String path, String body, String... headers)
            throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + path))
                .method(method, HttpRequest.BodyPublishers.ofString(body));
        if (headers.length > 0) {
            request.headers(headers);
        }
        return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    @ParameterizedTest
    @CsvSource({
        "GET, /v1/models, 401",
        "POST, /v1/completions, 401",
        "POST, /v1, 401",
        "POST, /v2/anything, 401",
        "POST, /inference/v1/generate, 401",
        "POST, /kv_peers, 401",
        "POST, /cohere/v2/chat, 401",
        "GET, /health, 200",
        "GET, /ping, 200",
        "GET, /metrics, 200",
        "GET, /version, 200",
        "POST, /tokenize, 200",
        "POST, /abort_requests, 200",
        "OPTIONS, /v1/completions, 200",
    })
    void pathsWhereWorkIsDoneWantAKeyAsInVllm(String method, String path, int status) throws Exception {
        try (HttpServer server = guarded()) {
            HttpResponse<String> answer = send(server, method, path, method.equals("POST") ? "{}" : "");
            assertThat(answer.statusCode()).isEqualTo(status);
            assertThat(handled).hasValue(status == 200 ? 1 : 0);
            if (status == 401) {
                assertThat(answer.body()).isEqualTo("{\"error\":\"Unauthorized\"}");
                assertThat(answer.headers().firstValue("content-type")).hasValue("application/json");
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"Bearer sk-first", "bearer sk-first", "BEARER sk-second"})
    void anyOfTheKeysLetsIn(String authorization) throws Exception {
        try (HttpServer server = guarded()) {
            assertThat(send(server, "GET", "/v1/models", "", "Authorization", authorization)
                            .statusCode())
                    .isEqualTo(200);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "Bearer sk-firs",
                "Bearer sk-first2",
                "Bearer  sk-first",
                "Bearer SK-FIRST",
                "Bearer",
                "Basic sk-first",
                "sk-first",
                "Bearer sk-first,sk-second"
            })
    void anythingElseDoesNot(String authorization) throws Exception {
        try (HttpServer server = guarded()) {
            assertThat(send(server, "GET", "/v1/models?key=sk-first", "", "Authorization", authorization)
                            .statusCode())
                    .isEqualTo(401);
            assertThat(handled).hasValue(0);
        }
    }

    @Test
    void bodyOfAStrangerIsNotKept() throws Exception {
        try (HttpServer server = guarded()) {
            for (int i = 0; i < 3; i++) {
                HttpResponse<String> answer = send(server, "POST", "/v1/completions", "x".repeat(3 << 20));
                assertThat(answer.statusCode()).isEqualTo(401);
            }
            assertThat(send(server, "POST", "/v1/completions", "{}", "Authorization", "Bearer " + KEY)
                            .body())
                    .isEqualTo("done");
        }
    }

    @Test
    void withoutKeysEverybodyIsLetInAndNoKeyIsEverShown() throws Exception {
        try (HttpServer server = serve(HttpServerConfig.builder("127.0.0.1", 0).apiKeys(ApiKeys.of(List.of(""))))) {
            assertThat(send(server, "GET", "/v1/models", "").statusCode()).isEqualTo(200);
        }
        HttpServerConfig config = HttpServerConfig.builder("127.0.0.1", 0)
                .apiKeys(ApiKeys.of(List.of(KEY)))
                .build();
        assertThat(config.toString()).contains("1 key").doesNotContain(KEY);
        assertThat(config.apiKeys().guard("GET", "/v1/models")).isTrue();
        assertThat(config.apiKeys().identify(Optional.empty())).isEmpty();
        assertThat(config.apiKeys().all().toString()).doesNotContain(KEY);
    }

    private static HttpServerConfig.Builder withKeys(ApiKey... keys) {
        return HttpServerConfig.builder("127.0.0.1", 0).apiKeys(ApiKeys.none().and(List.of(keys)));
    }

    @Test
    void keyOverItsRateIsToldWhenToComeBackAndOthersAreNotHarmed() throws Exception {
        ApiKey slow = ApiKey.of("slow", KEY).withLimits(2, 0, Set.of());
        ApiKey other = ApiKey.of("other", "sk-other");
        try (HttpServer server = serve(withKeys(slow, other))) {
            String[] key = {"Authorization", "Bearer " + KEY};
            HttpResponse<String> first = send(server, "POST", "/v1/completions", "{}", key);
            assertThat(first.statusCode()).isEqualTo(200);
            assertThat(first.headers().firstValue("x-ratelimit-limit-requests")).hasValue("2");
            assertThat(first.headers().firstValue("x-ratelimit-remaining-requests"))
                    .hasValue("1");
            assertThat(first.headers().firstValue("x-ratelimit-reset-requests"))
                    .hasValueSatisfying(reset -> assertThat(reset).matches("(30|29\\.\\d+)s"));
            for (int i = 0; i < 5; i++) {
                HttpResponse<String> look = send(server, "GET", "/v1/models", "", key);
                assertThat(look.statusCode()).as("to look is no work").isEqualTo(200);
                assertThat(look.headers().firstValue("x-ratelimit-remaining-requests"))
                        .isEmpty();
            }
            assertThat(send(server, "POST", "/v1/completions", "{}", key).statusCode())
                    .isEqualTo(200);
            for (String body : List.of("{}", "x".repeat(100_000))) {
                HttpResponse<String> refused = send(server, "POST", "/v1/completions", body, key);
                assertThat(refused.statusCode()).isEqualTo(429);
                assertThat(Integer.parseInt(
                                refused.headers().firstValue("retry-after").orElseThrow()))
                        .isBetween(25, 30);
                assertThat(Integer.parseInt(
                                refused.headers().firstValue("retry-after-ms").orElseThrow()))
                        .isBetween(25_000, 30_000);
                assertThat(Json.parse(refused.body().getBytes(StandardCharsets.UTF_8))
                                .at("/error/type")
                                .stringValue())
                        .isEqualTo("rate_limit_exceeded");
                assertThat(refused.body()).doesNotContain(KEY);
            }
            assertThat(send(server, "GET", "/health", "", key).statusCode()).isEqualTo(200);
            assertThat(send(server, "POST", "/v1/completions", "{}", "Authorization", "Bearer sk-other")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(slow.requests()).isEqualTo(2);
            assertThat(slow.overRate()).isEqualTo(2);
            assertThat(slow.inFlight()).isZero();
            assertThat(other.requests()).isEqualTo(1);
        }
    }

    @Test
    void keyHasAsManyRequestsInFlightAsItMayAndAClientThatLeavesGivesItsPlaceBack() throws Exception {
        ApiKey key = ApiKey.of("narrow", KEY).withLimits(0, 2, Set.of());
        HttpHandler never = exchange -> handled.incrementAndGet();
        try (HttpServer server = runtime.serve(withKeys(key).build(), never)) {
            String request = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nauthorization: Bearer "
                    + KEY + "\r\n\r\n{}";
            try (Socket one = new Socket("127.0.0.1", server.port());
                    Socket two = new Socket("127.0.0.1", server.port())) {
                one.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
                two.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
                await().untilAsserted(() -> assertThat(handled).hasValue(2));
                HttpResponse<String> refused =
                        send(server, "POST", "/v1/completions", "{}", "Authorization", "Bearer " + KEY);
                assertThat(refused.statusCode()).isEqualTo(429);
                assertThat(refused.headers().firstValue("retry-after")).hasValue("1");
                assertThat(key.inFlight()).isEqualTo(2);
            }
            await().untilAsserted(() -> assertThat(key.inFlight()).isZero());
            assertThat(key.overConcurrency()).isEqualTo(1);
        }
    }

    @Test
    void bodyThatNeverComesGivesThePlaceBack() throws Exception {
        ApiKey key = ApiKey.of("narrow", KEY).withLimits(0, 1, Set.of());
        try (HttpServer server = serve(withKeys(key))) {
            try (Socket client = new Socket("127.0.0.1", server.port())) {
                client.getOutputStream()
                        .write(("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nauthorization: "
                                        + "Bearer " + KEY + "\r\n\r\n{")
                                .getBytes(StandardCharsets.US_ASCII));
                await().untilAsserted(() -> assertThat(key.inFlight()).isOne());
            }
            await().untilAsserted(() -> assertThat(key.inFlight()).isZero());
        }
    }

    @Test
    void pageOfAnAllowedOriginMayAskAndReadAndOthersMayNot() throws Exception {
        Cors cors = new Cors(List.of("https://a.example"), List.of("POST"), List.of("X-Own"), false);
        try (HttpServer server = serve(HttpServerConfig.builder("127.0.0.1", 0)
                .apiKeys(ApiKeys.of(List.of(KEY)))
                .cors(cors))) {
            HttpResponse<String> asked = preflight(server, "https://a.example", "POST", "authorization, x-own");
            assertThat(asked.statusCode()).isEqualTo(400); // authorization is not on the list
            assertThat(asked.body()).isEqualTo("Disallowed CORS headers");
            asked = preflight(server, "https://a.example", "POST", "x-own, Content-Type");
            assertThat(asked.statusCode()).isEqualTo(200);
            assertThat(header(asked, "access-control-allow-origin")).isEqualTo("https://a.example");
            assertThat(header(asked, "access-control-allow-methods")).isEqualTo("POST");
            assertThat(preflight(server, "https://a.example", "PUT", "x-own").body())
                    .isEqualTo("Disallowed CORS method");
            HttpResponse<String> other = preflight(server, "https://b.example", "POST", "x-own");
            assertThat(other.body()).isEqualTo("Disallowed CORS origin");
            assertThat(header(other, "access-control-allow-origin")).isEmpty();
            assertThat(handled).hasValue(0);

            HttpResponse<String> refused = send(server, "GET", "/v1/models", "", "Origin", "https://a.example");
            assertThat(refused.statusCode()).isEqualTo(401);
            assertThat(header(refused, "access-control-allow-origin"))
                    .as("the page is to see why")
                    .isEqualTo("https://a.example");
            HttpResponse<String> read = send(server, "GET", "/health", "", "Origin", "https://b.example");
            assertThat(read.statusCode()).isEqualTo(200);
            assertThat(header(read, "access-control-allow-origin")).isEmpty();
        }
    }

    @Test
    void starStandsForAllAndWithCredentialsTheOriginIsNamed() throws Exception {
        List<String> all = List.of("*");
        try (HttpServer server = serve(HttpServerConfig.builder("127.0.0.1", 0).cors(new Cors(all, all, all, false)))) {
            HttpResponse<String> asked = preflight(server, "https://c.example", "DELETE", "x-any");
            assertThat(asked.statusCode()).isEqualTo(200);
            assertThat(header(asked, "access-control-allow-origin")).isEqualTo("*");
            assertThat(header(asked, "access-control-allow-headers")).isEqualTo("x-any");
        }
        try (HttpServer server = serve(HttpServerConfig.builder("127.0.0.1", 0).cors(new Cors(all, all, all, true)))) {
            HttpResponse<String> read = send(server, "GET", "/health", "", "Origin", "https://c.example");
            assertThat(header(read, "access-control-allow-origin")).isEqualTo("https://c.example");
            assertThat(header(read, "access-control-allow-credentials")).isEqualTo("true");
            assertThat(header(read, "vary")).isEqualTo("Origin");
        }
    }

    @Test
    void withoutOriginsNothingIsSaidToBrowsers() throws Exception {
        try (HttpServer server = serve(HttpServerConfig.builder("127.0.0.1", 0))) {
            HttpResponse<String> read = send(server, "GET", "/health", "", "Origin", "https://a.example");
            assertThat(header(read, "access-control-allow-origin")).isEmpty();
            assertThat(preflight(server, "https://a.example", "POST", "x").body())
                    .isEqualTo("done");
        }
    }

    private HttpResponse<String> preflight(HttpServer server, String origin, String method, String fields)
            throws IOException, InterruptedException {
        return send(
                server,
                "OPTIONS",
                "/v1/completions",
                "",
                "Origin",
                origin,
                "Access-Control-Request-Method",
                method,
                "Access-Control-Request-Headers",
                fields);
    }

    private static String header(HttpResponse<?> answer, String name) {
        return answer.headers().firstValue(name).orElse("");
    }
}
