package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.StaticEngines;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.router.backend.SharedStore;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// What a client gets and what the engines see while nothing breaks.
@Timeout(60)
class RouterTest {
    @Test
    void completionGoesOverBothLegs() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> answer = fleet.complete(
                    "{\"model\":\"m\",\"prompt\":\"hi\",\"max_tokens\":5,\"min_tokens\":3,\"temperature\":0.10}");

            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.headers().firstValue("content-type")).hasValue("application/json");
            assertThat(answer.body()).contains("\"hi\\\"*5\"");
            assertThat(fleet.prefiller(0).received).hasSize(1);
            StubEngine.Received decode = fleet.decoder(0).received.element();
            assertThat(decode.text())
                    .startsWith("{\"model\":\"m\",\"prompt\":\"hi\",\"max_tokens\":5,\"min_tokens\":3,"
                            + "\"temperature\":0.10,\"kv_transfer_params\":{");
            assertThat(decode.requestId())
                    .isEqualTo(fleet.prefiller(0).received.element().requestId());
        }
    }

    @Test
    void chatStreamsWithUsageGoOverBothLegs() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            String body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_completion_tokens\":7,"
                    + "\"max_tokens\":7,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
            HttpResponse<String> answer = fleet.post("/v1/chat/completions", body);

            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.headers().firstValue("content-type")).hasValue("text/event-stream; charset=utf-8");
            assertThat(answer.headers().firstValue("cache-control")).hasValue("no-cache");
            assertThat(answer.body()).isEqualTo(StubEngine.stream(Json.parse(body.getBytes(StandardCharsets.UTF_8))));
            assertThat(fleet.prefiller(0).received).hasSize(1);
        }
    }

    @Test
    void enginesTakeTurnsInBothRoles() throws Exception {
        try (Fleet fleet = new Fleet(3, 2)) {
            for (int i = 0; i < 12; i++) {
                fleet.complete("{\"prompt\":\"" + i + "\"}");
            }
            assertThat(prompts(fleet.prefiller(0))).containsExactly("0", "3", "6", "9");
            assertThat(prompts(fleet.prefiller(1))).containsExactly("1", "4", "7", "10");
            assertThat(prompts(fleet.prefiller(2))).containsExactly("2", "5", "8", "11");
            assertThat(prompts(fleet.decoder(0))).containsExactly("0", "2", "4", "6", "8", "10");
            assertThat(prompts(fleet.decoder(1))).containsExactly("1", "3", "5", "7", "9", "11");
        }
    }

    private static List<String> prompts(StubEngine engine) {
        return engine.received.stream()
                .map(request -> request.json().path("prompt").asString())
                .toList();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"prompt\":\"x\",\"n\":2}",
                "{\"prompt\":\"x\",\"best_of\":3}",
                "{\"prompt\":[\"x\",\"y\"]}",
                "{\"prompt\":[[1,2],[3]]}",
                "{\"prompt\":\"x\",\"echo\":true}",
                "{\"prompt\":\"x\",\"prompt_logprobs\":1}",
                "{\"prompt\":\"x\",\"use_beam_search\":true}"
            })
    void requestsThatOneHandoffCannotServeGoToADecoderAlone(String body) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            assertThat(fleet.complete(body).statusCode()).isEqualTo(200);
            assertThat(fleet.prefiller(0).received).isEmpty();
            assertThat(fleet.decoder(0).received.element().text()).isEqualTo(body);
            assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_prefill_fallbacks_total{");
        }
    }

    @Test
    void clientCannotSetWhatBelongsToTheFleet() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> answer = fleet.send(fleet.request("/v1/completions")
                    .header("content-type", "application/json; charset=utf-8")
                    .header("x-data-parallel-rank", "3")
                    .header("x-request-id", "___prefill_addr_1.2.3.4:5___decode_addr_6.7.8.9:1_0")
                    .header("authorization", "Bearer key")
                    .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"x\",\"kv_transfer_params\":"
                            + "{\"do_remote_prefill\":true,\"remote_host\":\"evil\"},\"bootstrap_host\":\"evil\"}")));

            assertThat(answer.statusCode()).isEqualTo(200);
            StubEngine.Received decode = fleet.decoder(0).received.element();
            assertThat(decode.text()).doesNotContain("evil");
            assertThat(decode.headers()).containsEntry("authorization", "Bearer key");
            assertThat(decode.requestId()).doesNotContain("addr");
            assertThat(answer.headers().firstValue("x-request-id")).hasValue(decode.requestId());
        }
    }

    @Test
    void clientsOwnIdIsEchoedAndMadeUniqueInside() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            for (int i = 0; i < 2; i++) {
                HttpResponse<String> answer = fleet.send(fleet.request("/v1/completions")
                        .header("content-type", "application/json")
                        .header("x-request-id", "mine-1")
                        .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"x\"}")));
                assertThat(answer.headers().firstValue("x-request-id")).hasValue("mine-1");
            }
            List<String> ids = fleet.decoder(0).received.stream()
                    .map(StubEngine.Received::requestId)
                    .toList();
            assertThat(ids).doesNotHaveDuplicates().allMatch(id -> id.startsWith("mine-1-"));
        }
    }

    @Test
    void prefillersRefusalIsTheAnswerAndNoDecoderIsAsked() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> answer = fleet.complete("{\"prompt\":\"too long\"}");
            assertThat(answer.statusCode()).isEqualTo(400);
            assertThat(answer.body())
                    .isEqualTo("{\"error\":{\"message\":\"This model's maximum context length is 99 tokens.\","
                            + "\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}");
            assertThat(fleet.decoder(0).received).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {400, 401, 404, 422, 429, 500, 501, 503})
    void decodersStatusAndBodyArePassedOnUnchanged(int status) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = call -> call.respond(status, "application/problem+json", "{\"why\":\"" + status);
            HttpResponse<String> answer = fleet.complete("{\"prompt\":\"x\",\"stream\":true}");
            assertThat(answer.statusCode()).isEqualTo(status);
            assertThat(answer.headers().firstValue("content-type")).hasValue("application/problem+json");
            assertThat(answer.body()).isEqualTo("{\"why\":\"" + status);
            String id = fleet.prefiller(0).received.element().requestId();
            await().atMost(Duration.ofSeconds(20))
                    .untilAsserted(() -> assertThat(fleet.prefiller(0).aborts)
                            .singleElement()
                            .satisfies(notice ->
                                    assertThat(notice.text()).isEqualTo("{\"request_ids\":[\"" + id + "\"]}")));
        }
    }

    @Test
    void tokenLimitThatAnEngineRefusesCostsNoPrefill() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> answer = fleet.complete("{\"prompt\":\"x\",\"max_tokens\":0}");
            assertThat(answer.statusCode()).isEqualTo(400);
            assertThat(answer.body()).contains("max_tokens must be at least 1, got 0");
            assertThat(fleet.prefiller(0).received).isEmpty();
        }
    }

    @Test
    void prefillWithoutHandoffIsDecodedLocally() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            for (String answer : List.of("{\"kv_transfer_params\":null}", "{}", "not json")) {
                fleet.prefiller(0).script = call -> call.respond(200, "application/json", answer);
                assertThat(fleet.complete("{\"prompt\":\"x\"}").statusCode()).isEqualTo(200);
            }
            assertThat(fleet.decoder(0).received).allMatch(leg -> leg.text().equals("{\"prompt\":\"x\"}"));
        }
    }

    @Test
    void headComesWithTheFirstEventAndEventsComeAsTheyAreMade() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            CompletableFuture<Void> first = new CompletableFuture<>();
            CompletableFuture<Void> second = new CompletableFuture<>();
            fleet.decoder(0).script = call -> {
                call.startEvents();
                first.join();
                call.raw("data: {\"a\":");
                call.raw("1}\n\nda");
                second.join();
                call.raw("ta: [DONE]\n\n");
                call.endEvents();
            };
            try (Socket client = fleet.startRaw("{\"prompt\":\"x\",\"stream\":true}")) {
                await().until(() -> !fleet.decoder(0).received.isEmpty());
                client.setSoTimeout(200);
                assertThatThrownBy(() -> client.getInputStream().read()).isInstanceOf(SocketTimeoutException.class);
                client.setSoTimeout(10_000);
                first.complete(null);
                String head = readUntil(client, "\n\n\r\n");
                assertThat(head).startsWith("HTTP/1.1 200 OK\r\n").endsWith("\r\ndata: {\"a\":1}\n\n\r\n");
                second.complete(null);
                assertThat(readUntil(client, "0\r\n\r\n")).contains("data: [DONE]\n\n");
            }
        }
    }

    private static String readUntil(Socket socket, String end) throws IOException {
        StringBuilder text = new StringBuilder();
        while (!text.toString().endsWith(end)) {
            int b = socket.getInputStream().read();
            assertThat(b).as("end of stream after %s", text).isNotNegative();
            text.append((char) b);
        }
        return text.toString();
    }

    @Test
    void manyParallelStreamsKeepEveryByte() throws Exception {
        try (Fleet fleet = new Fleet(2, 2)) {
            Random random = new Random(1);
            List<String> bodies = new ArrayList<>();
            List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
            for (int i = 0; i < 200; i++) {
                String prompt = "p" + i + "é€".repeat(random.nextInt(40));
                String body = "{\"prompt\":\"" + prompt + "\",\"max_tokens\":50,\"stream\":true}";
                bodies.add(body);
                answers.add(fleet.client.sendAsync(
                        fleet.request("/v1/completions")
                                .header("content-type", "application/json")
                                .POST(HttpRequest.BodyPublishers.ofString(body))
                                .build(),
                        HttpResponse.BodyHandlers.ofString()));
            }
            for (int i = 0; i < answers.size(); i++) {
                HttpResponse<String> answer = answers.get(i).get(30, TimeUnit.SECONDS);
                JsonNode body = Json.parse(bodies.get(i).getBytes(StandardCharsets.UTF_8));
                assertThat(answer.body()).isEqualTo(StubEngine.stream(body));
            }
        }
    }

    @Test
    void largeBodiesAreRoutedToo() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            String prompt = "long ".repeat(200_000);
            HttpResponse<String> answer = fleet.complete("{\"prompt\":\"" + prompt + "\",\"max_tokens\":2}");
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(fleet.prefiller(0).received).hasSize(1);
        }
    }

    @Test
    void ttftIsReportedInTheFormOfTheSeeds() throws Exception {
        try (Fleet fleet = new Fleet(2, 1, config -> config.statsInterval(Duration.ofMillis(300)))) {
            for (int i = 0; i < 3; i++) {
                fleet.complete("{\"prompt\":\"x\",\"stream\":true}");
            }
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> fleet.reports.stream().anyMatch(report -> report.contains("Num requests: 3\n")));
            String ruler = "=".repeat(31);
            String block = "TTFT stats:\n - Average \\(ms\\): \\d+\\.\\d\n - Median \\(ms\\): \\d+\\.\\d\n"
                    + " - 99th Percentile \\(ms\\): \\d+\\.\\d\n";
            assertThat(fleet.reports)
                    .last()
                    .asString()
                    .matches("\n" + ruler + "\nNum requests: 3\nPrefiller 1 " + block + "Prefiller 2 " + block
                            + "Decoder 1 " + block + ruler);
            int reports = fleet.reports.size();
            Thread.sleep(700);
            assertThat(fleet.reports).as("silence without traffic").hasSize(reports);
        }
    }

    @Test
    void reportOfTimesCanBeTurnedOff() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.statsInterval(Duration.ZERO))) {
            assertThat(fleet.complete("{\"prompt\":\"x\",\"max_tokens\":2}").statusCode())
                    .isEqualTo(200);
            Thread.sleep(300);
            assertThat(fleet.reports).isEmpty();
            assertThat(fleet.get("/status").body())
                    .as("the figures are there all the same")
                    .contains("ttft_ms");
        }
    }

    @Test
    void readyWaitsUntilEveryEngineIsSeenUp() throws Exception {
        try (Fleet fleet = new Fleet(2, 1)) {
            await().untilAsserted(
                            () -> assertThat(fleet.get("/ready").statusCode()).isEqualTo(200));
            assertThat(fleet.get("/ready").body()).isEqualTo("{\"not_up\":[]}");
            StubEngine lame = fleet.prefiller(1);
            lame.healthStatus = 503;
            await().untilAsserted(
                            () -> assertThat(fleet.get("/ready").statusCode()).isEqualTo(503));
            assertThat(fleet.get("/ready").body())
                    .isEqualTo("{\"not_up\":[{\"role\":\"prefiller\",\"address\":\"" + lame.address() + "\"}]}");
            assertThat(fleet.get("/health").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void engineThatHasNotAnsweredYetIsNotReady() throws Exception {
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            StaticEngines engines =
                    new StaticEngines(List.of(), List.of(new EngineAddress("127.0.0.1", silent.getLocalPort())));
            try (Router router = Router.start(RouterConfig.of("127.0.0.1", 0, engines));
                    java.net.http.HttpClient client = java.net.http.HttpClient.newHttpClient()) {
                HttpRequest ask = HttpRequest.newBuilder(
                                java.net.URI.create("http://127.0.0.1:" + router.port() + "/ready"))
                        .build();
                assertThat(client.send(ask, HttpResponse.BodyHandlers.ofString())
                                .statusCode())
                        .isEqualTo(503);
                HttpRequest status = HttpRequest.newBuilder(
                                java.net.URI.create("http://127.0.0.1:" + router.port() + "/status"))
                        .build();
                assertThat(client.send(status, HttpResponse.BodyHandlers.ofString())
                                .body())
                        .contains("\"state\":\"unknown\",\"reason\":\"not probed yet\"");
            }
        }
    }

    @Test
    void otherEndpointsAnswer() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            assertThat(fleet.get("/v1/models").body()).contains("\"stub\"");
            assertThat(fleet.post("/tokenize", "{\"prompt\":\"x\"}").body()).contains("[7,8]");
            assertThat(fleet.get("/health").statusCode()).isEqualTo(200);
            assertThat(fleet.get("/ping").statusCode()).isEqualTo(200);
            assertThat(fleet.post("/ping", "").statusCode()).isEqualTo(200);
            assertThat(fleet.get("/version").body()).matches("\\{\"version\":\".+\"}");
            fleet.complete("{\"prompt\":\"x\",\"stream\":true}");
            await("counted behind the last bytes")
                    .until(() -> fleet.get("/metrics").body().contains("baton_router_requests_in_flight 0.0"));
            JsonNode status = Json.parse(fleet.get("/status").body().getBytes(StandardCharsets.UTF_8));
            assertThat(status.at("/prefillers/0/state").asString()).isEqualTo("up");
            assertThat(status.at("/prefillers/0/requests").asInt()).isEqualTo(1);
            assertThat(status.at("/prefillers/0/ttft_ms/median").asDouble()).isPositive();
            assertThat(status.at("/decoders/0/requests_in_flight").asInt()).isZero();
            String metrics = fleet.get("/metrics").body();
            assertThat(metrics)
                    .contains("baton_router_requests_total{endpoint=\"/v1/completions\",outcome=\"200\","
                            + "route=\"disaggregated\"} 1.0")
                    .contains("baton_router_requests_in_flight 0.0")
                    .contains("baton_router_time_to_first_token_seconds_count{engine=\""
                            + fleet.decoder(0).address() + "\",role=\"decoder\"} 1");
        }
    }

    @Test
    void unknownPathsAndMethodsAreRefusedInTheApisForm() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> unknown = fleet.get("/v1/nothing");
            assertThat(unknown.statusCode()).isEqualTo(404);
            assertThat(unknown.body())
                    .isEqualTo("{\"error\":{\"message\":\"Not Found\",\"type\":\"NotFoundError\",\"param\":null,"
                            + "\"code\":404}}");
            assertThat(fleet.get("/v1/completions").statusCode()).isEqualTo(405);
            assertThat(fleet.post("/health", "{}").statusCode()).isEqualTo(405);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "{\"prompt\":",
                "[1,2]",
                "\"x\"",
                "{\"prompt\":\"x\"} more",
                "{\"temperature\":NaN}",
                "{\"prompt\":\"\\ud800\"}"
            })
    void malformedBodiesAre400AndReachNoEngine(String body) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            HttpResponse<String> answer = fleet.complete(body);
            assertThat(answer.statusCode()).isEqualTo(400);
            JsonNode error =
                    Json.parse(answer.body().getBytes(StandardCharsets.UTF_8)).path("error");
            assertThat(error.path("code").asInt()).isEqualTo(400);
            assertThat(error.path("type").asString()).isEqualTo("Bad Request");
            assertThat(fleet.prefiller(0).received).isEmpty();
            assertThat(fleet.decoder(0).received).isEmpty();
        }
    }

    @Test
    void deepNestingInvalidUtf8AndWrongTypesAre400() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            assertThat(fleet.complete("{\"x\":" + "[".repeat(10_000) + "]".repeat(10_000) + "}")
                            .statusCode())
                    .isEqualTo(400);
            byte[] latin1 = "{\"prompt\":\"é\"}".getBytes(StandardCharsets.ISO_8859_1);
            assertThat(fleet.send(fleet.request("/v1/completions")
                                    .header("content-type", "application/json")
                                    .POST(HttpRequest.BodyPublishers.ofByteArray(latin1)))
                            .statusCode())
                    .isEqualTo(400);
            assertThat(fleet.send(fleet.request("/v1/completions")
                                    .header("content-type", "text/plain")
                                    .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"x\"}")))
                            .body())
                    .contains("Unsupported Media Type: Only 'application/json' is allowed");
        }
    }

    @Test
    void bodyAndHeaderLimitsHold() throws Exception {
        try (Fleet fleet = new Fleet(
                1,
                1,
                config -> config.server(HttpServerConfig.builder("127.0.0.1", 0)
                        .maxBodyBytes(1000)
                        .build()))) {
            assertThat(fleet.complete("{\"prompt\":\"" + "x".repeat(1000) + "\"}")
                            .statusCode())
                    .isEqualTo(413);
            assertThat(fleet.send(fleet.request("/v1/completions")
                                    .header("content-type", "application/json")
                                    .header("x-long", "y".repeat(20_000))
                                    .POST(HttpRequest.BodyPublishers.ofString("{}")))
                            .statusCode())
                    .isEqualTo(431);
        }
    }

    @Test
    void requestsOverTheLimitAreShedAtOnce() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.maxInFlight(1))) {
            fleet.decoder(0).script = StubEngine.Call::stall;
            Socket first = fleet.startRaw("{\"prompt\":\"x\"}");
            await().until(() -> !fleet.decoder(0).received.isEmpty());
            HttpResponse<String> second = fleet.complete("{\"prompt\":\"x\"}");
            assertThat(second.statusCode()).isEqualTo(503);
            assertThat(second.headers().firstValue("retry-after")).hasValue("1");
            first.close();
        }
    }

    @Test
    void enginesOnIpv6AreReached() throws Exception {
        try (ServerSocket engine = listenOnIpv6();
                Router router = Router.start(RouterConfig.of(
                        "127.0.0.1",
                        0,
                        new StaticEngines(List.of(), List.of(new EngineAddress("::1", engine.getLocalPort())))))) {
            assertThat(router.port()).isPositive();
            engine.setSoTimeout(10_000);
            try (Socket probe = engine.accept()) {
                byte[] start = probe.getInputStream().readNBytes(12);
                assertThat(new String(start, StandardCharsets.US_ASCII)).isEqualTo("GET /health ");
            }
        }
    }

    private static ServerSocket listenOnIpv6() {
        try {
            return new ServerSocket(0, 50, InetAddress.getByName("::1"));
        } catch (IOException e) {
            return Assumptions.abort("this machine has no IPv6 loopback: " + e.getMessage());
        }
    }

    @Test
    void stopLetsAStreamInFlightEnd() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            CompletableFuture<Void> go = new CompletableFuture<>();
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{}");
                go.join();
                call.event("[DONE]");
                call.endEvents();
            };
            try (Socket client = fleet.startRaw("{\"prompt\":\"x\",\"stream\":true}")) {
                readUntil(client, "data: {}\n\n\r\n");
                CompletableFuture<Void> stopped =
                        CompletableFuture.runAsync(() -> fleet.router.stop(Duration.ofSeconds(10)));
                await().untilAsserted(() ->
                        assertThatThrownBy(() -> fleet.connect().close()).isInstanceOf(IOException.class));
                go.complete(null);
                assertThat(readUntil(client, "0\r\n\r\n")).contains("data: [DONE]\n\n");
                stopped.get(20, TimeUnit.SECONDS);
            }
        }
    }

    @Test
    void stopThatFailsEndsProbesAndEventLoopAllTheSame() throws Exception {
        try (StubEngine engine = StubEngine.decoder()) {
            Router router = Router.start(
                    RouterConfig.builder("127.0.0.1", 0, new StaticEngines(List.of(), List.of(engine.address())))
                            .probeInterval(Duration.ofMillis(50))
                            .build());
            await().until(() -> engine.probes.get() > 1);
            int port = router.port();
            Duration tooLong = Duration.ofSeconds(Long.MAX_VALUE);
            assertThatThrownBy(() -> router.stop(tooLong)).isInstanceOf(ArithmeticException.class);
            assertThatThrownBy(() -> new Socket(InetAddress.getLoopbackAddress(), port).close())
                    .isInstanceOf(IOException.class);
            int probes = engine.probes.get();
            Fleet.pause(Duration.ofMillis(300));
            assertThat(engine.probes).hasValue(probes);
        }
    }

    @Test
    void bodyThatIsNotUtf8Is400() throws Exception {
        try (Fleet fleet = new Fleet(0, 1)) {
            byte[] body = "{\"prompt\":\"x\"}".getBytes(StandardCharsets.UTF_16);
            HttpResponse<String> answer = fleet.send(fleet.request("/v1/completions")
                    .header("content-type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofByteArray(body)));
            assertThat(answer.statusCode()).isEqualTo(400);
            assertThat(fleet.decoder(0).received).isEmpty();
        }
    }

    @Test
    void engineWithASharedStoreGetsNoParams() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.backend(new SharedStore()))) {
            fleet.prefiller(0).script = call -> call.respond(200, "application/json", "{\"choices\":[]}");
            assertThat(fleet.complete("{\"prompt\":\"x\",\"max_tokens\":4}").statusCode())
                    .isEqualTo(200);
            assertThat(fleet.prefiller(0).received.element().text())
                    .isEqualTo("{\"prompt\":\"x\",\"max_tokens\":1,\"stream\":false}");
            assertThat(fleet.decoder(0).received.element().text()).isEqualTo("{\"prompt\":\"x\",\"max_tokens\":4}");
        }
    }
}
