package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.router.backend.SharedStore;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.EngineView;
import dev.baton.router.policy.PolicyRequest;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.RoutingPolicy;
import java.io.InputStream;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// What happens when engines refuse, die, stall or answer nonsense. Every request ends, and no failure looks
/// like an answer.
@Timeout(60)
class RouterFaultTest {
    private static final String REQUEST = "{\"prompt\":\"x\",\"max_tokens\":3}";
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":3,\"stream\":true}";
    private static final String ERROR_EVENT =
            "data: {\"error\":{\"message\":\"The engine stopped before the answer was complete.\","
                    + "\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\n\n";

    private static String streamOf(String body) {
        return StubEngine.stream(Json.parse(body.getBytes(StandardCharsets.UTF_8)));
    }

    @Test
    void killedPrefillerCostsNoRequest() throws Exception {
        try (Fleet fleet = new Fleet(2, 2)) {
            AtomicInteger under = new AtomicInteger();
            fleet.prefiller(0).script = call -> {
                under.incrementAndGet();
                call.stall();
            };
            List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                answers.add(fleet.client.sendAsync(
                        fleet.request("/v1/completions")
                                .header("content-type", "application/json")
                                .POST(HttpRequest.BodyPublishers.ofString(STREAM))
                                .build(),
                        HttpResponse.BodyHandlers.ofString()));
            }
            await().until(() -> under.get() == 20);
            fleet.prefiller(0).kill();
            for (CompletableFuture<HttpResponse<String>> answer : answers) {
                HttpResponse<String> response = answer.get(20, TimeUnit.SECONDS);
                assertThat(response.statusCode()).isEqualTo(200);
                assertThat(response.body()).isEqualTo(streamOf(STREAM));
            }
            assertThat(fleet.prefiller(1).received).hasSize(40);
            assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_prefill_fallbacks_total{");
        }
    }

    @Test
    void killedPrefillerIsUsedAgainOnceItIsBack() throws Exception {
        try (Fleet fleet = new Fleet(2, 1)) {
            fleet.prefiller(0).kill();
            for (int i = 0; i < 4; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(fleet.prefiller(1).received).hasSize(4);
            assertThat(fleet.get("/status").body()).contains("\"down\"");
            fleet.prefiller(0).restart();
            await().atMost(Duration.ofSeconds(20))
                    .untilAsserted(() -> assertThat(fleet.get("/status").body()).doesNotContain("\"down\""));
            for (int i = 0; i < 4; i++) {
                fleet.complete(REQUEST);
            }
            assertThat(fleet.prefiller(0).received).hasSize(2);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"refuses", "dies", "500", "503", "302", "stalls", "half"})
    void withNoPrefillerLeftTheDecoderPrefills(String fault) throws Exception {
        try (Fleet fleet = new Fleet(
                2,
                1,
                config -> config.deadlines(
                        Fleet.PATIENT.withPrefill(Duration.ofMillis(fault.equals("stalls") ? 300 : 30_000))))) {
            for (StubEngine prefiller : fleet.prefillers) {
                switch (fault) {
                    case "refuses" -> prefiller.kill();
                    case "dies" -> prefiller.script = StubEngine.Call::die;
                    case "stalls" -> prefiller.script = StubEngine.Call::stall;
                    case "half" ->
                        prefiller.script = call -> {
                            call.startEvents();
                            call.raw("{\"kv_transfer_params\":");
                            call.die();
                        };
                    default -> prefiller.script = call -> call.respond(Integer.parseInt(fault), "text/plain", "no");
                }
            }
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(fleet.decoder(0).received.element().text()).isEqualTo(REQUEST);
            assertThat(fleet.get("/metrics").body())
                    .containsPattern("baton_router_prefill_fallbacks_total\\{cause=\"[a-z ]+\"} 1.0")
                    .contains("route=\"direct\"");
            if (fault.equals("stalls")) {
                for (StubEngine prefiller : fleet.prefillers) {
                    await().untilAsserted(
                                    () -> assertThat(prefiller.disconnects).hasValue(1));
                    await().untilAsserted(() -> assertThat(prefiller.aborts).hasSize(1));
                }
            }
            if (fault.equals("dies")) {
                for (StubEngine prefiller : fleet.prefillers) {
                    assertThat(prefiller.received)
                            .as("a dying engine is tried twice at most")
                            .hasSize(2);
                }
            }
        }
    }

    /// A client's own fault, whatever its number: each engine would say the same, and none is to blame.
    @ParameterizedTest
    @ValueSource(ints = {400, 404, 422, 501})
    void prefillersRefusalIsTheAnswerAndNoFault(int status) throws Exception {
        try (Fleet fleet = new Fleet(2, 1)) {
            for (StubEngine prefiller : fleet.prefillers) {
                prefiller.script = call -> call.respond(status, "application/json", "{\"error\":{}}");
            }
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(status);
            assertThat(answer.body()).isEqualTo("{\"error\":{}}");
            assertThat(fleet.prefiller(0).received.size()
                            + fleet.prefiller(1).received.size())
                    .isEqualTo(1);
            assertThat(fleet.decoder(0).received).isEmpty();
            assertThat(totalFailures(fleet)).isZero();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {429, 503})
    void busyPrefillerIsPassedOverWithoutBlame(int status) throws Exception {
        try (Fleet fleet = new Fleet(2, 1)) {
            fleet.prefiller(0).script = call -> call.respond(status, "application/json", "{}");
            for (int i = 0; i < 4; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(fleet.decoder(0).received).allMatch(leg -> leg.text().contains("kv_transfer_params"));
            assertThat(fleet.prefiller(0).received).as("it stays in the round").hasSizeGreaterThan(1);
            assertThat(totalFailures(fleet)).isZero();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {429, 503})
    void withAllDecodersBusyTheirAnswerPassesWithRetryAfter(int status) throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            for (StubEngine decoder : fleet.decoders) {
                decoder.script = call -> call.respond(status, "application/json\r\nretry-after: 7", "{\"busy\":true}");
            }
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(status);
            assertThat(answer.headers().firstValue("retry-after")).hasValue("7");
            assertThat(answer.body()).isEqualTo("{\"busy\":true}");
            assertThat(fleet.decoders).allMatch(decoder -> decoder.received.size() == 1);
            assertThat(totalFailures(fleet)).isZero();
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {500, 502, 504})
    void prefillerThatFailsIsBlamed(int status) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.prefiller(0).script = call -> call.respond(status, "text/plain", "no");
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(totalFailures(fleet)).isEqualTo(1);
        }
    }

    private static long totalFailures(Fleet fleet) throws Exception {
        JsonNode status = Json.parse(fleet.get("/status").body().getBytes(StandardCharsets.UTF_8));
        long failures = 0;
        for (String role : List.of("prefillers", "decoders")) {
            for (JsonNode engine : status.path(role)) {
                failures += engine.path("failures").asLong();
            }
        }
        return failures;
    }

    @Test
    void heldBlocksAreReleasedIfNoDecoderIsUpAtTheEndOfThePrefill() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.prefiller(0).script = call -> {
                fleet.decoder(0).kill();
                await().untilAsserted(() ->
                        assertThat(fleet.get("/health").statusCode()).isEqualTo(503));
                StubEngine.prefill(call);
            };
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(503);
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "not_json|no JSON",
                "absent|{}",
                "absent|{\"kv_transfer_params\":null}",
                "stopped|{\"choices\":[{\"finish_reason\":\"stop\"}]}"
            })
    void prefillWithoutAHandoffIsCountedAndDecodedAllTheSame(String reason, String body) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.prefiller(0).script = call -> call.respond(200, "application/json", body);
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(fleet.decoder(0).received.element().text()).isEqualTo(REQUEST);
            assertThat(fleet.get("/metrics").body())
                    .contains("baton_router_handoffs_missing_total{reason=\"" + reason + "\"} 1.0");
        }
    }

    @Test
    void storeSharedByTheEnginesNeedsNoHandoff() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.backend(new SharedStore()))) {
            fleet.prefiller(0).script = call -> call.respond(200, "application/json", "{}");
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_handoffs_missing_total{");
        }
    }

    /// A bug of the router's own, on the event loop of a small body and behind the thread that parses a large one.
    @ParameterizedTest
    @ValueSource(ints = {1, 300_000})
    void bugAtTheStartIs500(int promptChars) throws Exception {
        RoutingPolicy broken = new RoutingPolicy() {
            @Override
            public <E extends EngineView> Optional<Decision<E>> route(
                    PolicyRequest request, List<E> prefillers, List<E> decoders) {
                throw new IllegalStateException("planted");
            }
        };
        try (Fleet fleet = new Fleet(1, 1, config -> config, broken)) {
            HttpResponse<String> answer = fleet.complete("{\"prompt\":\"" + "x".repeat(promptChars) + "\"}");
            assertOwnError(answer);
            assertThat(fleet.get("/metrics").body()).contains("outcome=\"500\"");
        }
    }

    @Test
    void bugBetweenTheLegsIs500AndReleasesThePrefill() throws Exception {
        RoundRobinPolicy rounds = new RoundRobinPolicy();
        RoutingPolicy broken = new RoutingPolicy() {
            @Override
            public <E extends EngineView> Optional<Decision<E>> route(
                    PolicyRequest request, List<E> prefillers, List<E> decoders) {
                if (prefillers.isEmpty()) { // another decoder is looked for
                    throw new IllegalStateException("planted");
                }
                return rounds.route(request, prefillers, decoders);
            }
        };
        try (Fleet fleet = new Fleet(1, 1, config -> config.probeInterval(Duration.ofMinutes(1)), broken)) {
            await().until(() -> fleet.decoder(0).probes.get() >= 1); // no other finds that it is dead
            fleet.prefiller(0).script = call -> {
                fleet.decoder(0).kill();
                StubEngine.prefill(call);
            };
            assertOwnError(fleet.complete(REQUEST));
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    private static void assertOwnError(HttpResponse<String> answer) {
        assertThat(answer.statusCode()).isEqualTo(500);
        assertThat(answer.headers().firstValue("content-type")).hasValue("application/json");
        assertThat(answer.body()).contains("\"type\":\"InternalServerError\"").doesNotContain("planted");
    }

    @Test
    void refusingDecoderIsReplacedAndTheHandoffKept() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).kill();
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.body()).isEqualTo(streamOf(STREAM));
            assertThat(fleet.prefiller(0).received).hasSize(1);
            assertThat(fleet.decoder(1).received.element().text()).contains("kv_transfer_params");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"dies", "head only", "half an event", "503"})
    void decoderThatFailsBeforeContentIsReplaced(String fault) throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).script = call -> {
                switch (fault) {
                    case "dies" -> call.die();
                    case "503" -> call.respond(503, "application/json", "{}");
                    case "head only" -> {
                        call.startEvents();
                        call.die();
                    }
                    default -> {
                        call.startEvents();
                        call.raw("data: {\"choi");
                        call.die();
                    }
                }
            };
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.body()).isEqualTo(streamOf(STREAM));
        }
    }

    @Test
    void keptConnectionThatDiedIsNoFailure() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            AtomicInteger calls = new AtomicInteger();
            fleet.prefiller(0).script = call -> {
                if (calls.incrementAndGet() == 2) {
                    call.die();
                } else {
                    StubEngine.prefill(call);
                }
            };
            for (int i = 0; i < 3; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(fleet.decoder(0).received).allMatch(leg -> leg.text().contains("kv_transfer_params"));
        }
    }

    @Test
    void decoderThatDiesInAStreamEndsItWithAnErrorEventAndNoDone() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{\"n\":1}");
                call.raw("data: {\"n\":2}\n\ndata: {\"n\":");
                call.awaitRead();
                call.die();
            };
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(answer.body()).isEqualTo("data: {\"n\":1}\n\ndata: {\"n\":2}\n\n" + ERROR_EVENT);
            assertThat(fleet.get("/metrics").body()).contains("outcome=\"stream_error\"");
        }
    }

    @Test
    void streamThatEndsWithoutDoneIsNoCompleteAnswer() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{\"n\":1}");
                call.endEvents();
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo("data: {\"n\":1}\n\n" + ERROR_EVENT);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"done", "end", "dies"})
    void enginesOwnErrorEventPassesUnchangedAndIsNoSuccess(String then) throws Exception {
        String token = "data: {\"n\":1}\n\n";
        String error = "data: {\"error\": {\"message\":\"KV load failure\"}}\n\n";
        String done = then.equals("done") ? "data: [DONE]\n\n" : "";
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.raw(token + error + done);
                if (then.equals("dies")) {
                    call.awaitRead();
                    call.die();
                } else {
                    call.endEvents();
                }
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo(token + error);
            assertThat(fleet.get("/metrics").body())
                    .contains("outcome=\"stream_error\"")
                    .doesNotContain("outcome=\"200\"");
            assertThat(totalFailures(fleet)).isEqualTo(1);
        }
    }

    @ParameterizedTest
    @CsvSource({"400, 400, 0", "503, 503, 1", "500, 500, 1", "null, 500, 1", "7, 500, 0"})
    void errorBeforeAnyTokenIsAnErrorResponse(String code, int status, long failures) throws Exception {
        String error = "{\"error\": {\"message\":\"KV load failure\",\"code\":" + code + "}}";
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.raw("data: " + error + "\n\ndata: [DONE]\n\n");
                call.endEvents();
            };
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.statusCode()).isEqualTo(status);
            assertThat(answer.headers().firstValue("content-type")).hasValue("application/json");
            assertThat(answer.body()).isEqualTo(error);
            assertThat(fleet.get("/metrics").body())
                    .contains("outcome=\"" + status + "\"")
                    .doesNotContain("outcome=\"stream_error\"");
            assertThat(totalFailures(fleet)).isEqualTo(failures);
        }
    }

    /// What its key's requests wait for is the fleet's prompt, whether or not they are streamed.
    @Test
    void requestThatIsNotStreamedWaitsUntilItIsPrefilled() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            CountDownLatch prefill = new CountDownLatch(1);
            fleet.prefiller(0).script = call -> {
                awaitLatch(prefill);
                StubEngine.prefill(call);
            };
            fleet.decoder(0).script = StubEngine.Call::stall;
            try (Socket client = fleet.startRaw(REQUEST)) {
                await().untilAsserted(
                                () -> assertThat(fleet.prefiller(0).received).hasSize(1));
                assertThat(fleet.get("/metrics").body().lines()).contains("baton_router_requests_waiting 1.0");
                prefill.countDown();
                await().untilAsserted(() ->
                        assertThat(fleet.get("/metrics").body().lines()).contains("baton_router_requests_waiting 0.0"));
                assertThat(client.getInputStream().available()).isZero();
            }
        }
    }

    private static void awaitLatch(CountDownLatch latch) {
        try {
            assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    void stalledStreamEndsAtTheGapDeadline() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.deadlines(Fleet.PATIENT.withGap(Duration.ofSeconds(1))))) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{\"n\":1}");
                call.stall();
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo("data: {\"n\":1}\n\n" + ERROR_EVENT);
            await().untilAsserted(() -> assertThat(fleet.decoder(0).disconnects).hasValue(1));
        }
    }

    @Test
    void lateAnswerIs504() throws Exception {
        try (Fleet fleet =
                new Fleet(1, 1, config -> config.deadlines(Fleet.PATIENT.withAnswer(Duration.ofMillis(300))))) {
            fleet.decoder(0).script = StubEngine.Call::stall;
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(504);
            await().untilAsserted(() -> assertThat(fleet.decoder(0).disconnects).hasValue(1));
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @Test
    void lastDecoderThatDiesBeforeItsAnswerIs502() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            fleet.decoder(0).script = StubEngine.Call::die;
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(502);
            assertThat(answer.body()).contains("\"code\":502").doesNotContain("127.0.0.1");
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @Test
    void withAllDecodersDownRequestsAre503AtOnceAndNothingIsPrefilled() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).kill();
            fleet.decoder(1).kill();
            await().atMost(Duration.ofSeconds(20))
                    .untilAsserted(
                            () -> assertThat(fleet.get("/health").statusCode()).isEqualTo(503));
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.statusCode()).isEqualTo(503);
            assertThat(answer.headers().firstValue("retry-after")).hasValue("1");
            assertThat(answer.body()).contains("\"type\":\"ServiceUnavailableError\"", "\"code\":503");
            assertThat(fleet.prefiller(0).received).isEmpty();
            assertThat(fleet.get("/v1/models").statusCode())
                    .as("any engine will do")
                    .isEqualTo(200);

            fleet.decoder(1).restart();
            await().atMost(Duration.ofSeconds(20))
                    .untilAsserted(() ->
                            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200));
        }
    }

    @Test
    void decodersThatDieBeforeAnyProbeAre503WithRetryAfter() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.probeInterval(Duration.ofMinutes(1)))) {
            await().until(() -> fleet.decoder(0).probes.get() >= 1);
            fleet.decoder(0).kill();
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(503);
            assertThat(answer.headers().firstValue("retry-after")).hasValue("1");
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @Test
    void pausedPrefillerIsFoundByProbesAndItsRequestsMove() throws Exception {
        try (Fleet fleet =
                new Fleet(2, 1, config -> config.deadlines(Fleet.PATIENT.withProbe(Duration.ofMillis(1_500))))) {
            fleet.prefiller(0).script = StubEngine.Call::stall;
            fleet.prefiller(0).healthStalls = true;
            HttpResponse<String> answer = fleet.complete(STREAM);
            assertThat(answer.body()).isEqualTo(streamOf(STREAM));
            assertThat(fleet.prefiller(1).received).hasSize(1);
            assertThat(fleet.get("/status").body()).contains("\"down\"");
        }
    }

    @Test
    void engineThatSaysItIsDeadGetsNothing() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).healthStatus = 503;
            await().untilAsserted(() -> assertThat(fleet.get("/status").body()).contains("\"down\""));
            for (int i = 0; i < 4; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(fleet.decoder(0).received).isEmpty();
        }
    }

    @Test
    void slowReaderSlowsItsEngineDownAndLosesNothing() throws Exception {
        int events = 15_000; // 60 MB: more than the kernel buffers of two connections hold
        String payload = "{\"text\":\"" + "t".repeat(4000) + "\"}";
        try (Fleet fleet = new Fleet(1, 1)) {
            AtomicInteger sent = new AtomicInteger();
            fleet.decoder(0).script = call -> {
                if (call.request.text().contains("other")) {
                    StubEngine.decode(call);
                    return;
                }
                call.startEvents();
                for (int i = 0; i < events; i++) {
                    call.event(payload);
                    sent.incrementAndGet();
                }
                call.event("[DONE]");
                call.endEvents();
            };
            try (Socket client = fleet.startRaw(STREAM)) {
                await().until(() -> sent.get() > 10);
                Fleet.pause(Duration.ofSeconds(1));
                assertThat(sent.get()).as("the engine is held back").isLessThan(events);
                assertThat(fleet.complete("{\"prompt\":\"other\"}").statusCode())
                        .isEqualTo(200);
                long read = readUntilLastChunk(client.getInputStream());
                assertThat(read).isGreaterThan((long) events * (payload.length() + 8));
            }
        }
    }

    private static long readUntilLastChunk(InputStream in) throws java.io.IOException {
        byte[] buffer = new byte[64 << 10];
        String tail = "";
        long read = 0;
        while (!tail.endsWith("\r\n0\r\n\r\n")) {
            int count = in.read(buffer);
            assertThat(count).as("the stream ended after %s bytes", read).isPositive();
            read += count;
            tail += new String(buffer, 0, count, StandardCharsets.US_ASCII);
            tail = tail.substring(Math.max(0, tail.length() - 16));
        }
        return read;
    }

    @Test
    void clientThatNeverReadsIsCutOffAndItsEngineFreed() throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.server(shortWrites(HttpServerConfig.of("127.0.0.1", 0))))) {
            fleet.decoder(0).script = call -> {
                call.startEvents();
                while (true) {
                    call.event("{\"text\":\"" + "t".repeat(4000) + "\"}");
                }
            };
            try (Socket client = fleet.startRaw(STREAM)) {
                await().atMost(Duration.ofSeconds(10))
                        .untilAsserted(
                                () -> assertThat(fleet.decoder(0).disconnects).hasValue(1));
                assertThat(client.isConnected()).isTrue();
            }
        }
    }

    private static HttpServerConfig shortWrites(HttpServerConfig config) {
        return config.toBuilder().writeDeadline(Duration.ofMillis(500)).build();
    }
}
