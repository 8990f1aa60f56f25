package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.http.Json;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.LlmD;
import dev.baton.router.backend.LmCacheMp;
import dev.baton.router.backend.SgLang;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-overs whose legs do not go out one after the other: both at once, the decoder's alone, the decoder's
/// after an announcement.
@Timeout(60)
class RouterOrderTest {
    private static final String REQUEST = "{\"prompt\":\"x\",\"max_tokens\":3}";
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":3,\"stream\":true}";

    private static String streamOf(String body) {
        return StubEngine.stream(Json.parse(body.getBytes(StandardCharsets.UTF_8)));
    }

    /// Engines that meet in rooms: a prefiller does not answer before its decoder has come, and a decoder waits for
    /// its prefiller for ever.
    private static final class Rooms {
        private final Set<String> prefilled = ConcurrentHashMap.newKeySet();
        private final Set<String> decoded = ConcurrentHashMap.newKeySet();

        private Rooms(Fleet fleet) {
            fleet.prefillers.forEach(engine -> engine.script = this::prefill);
            fleet.decoders.forEach(engine -> engine.script = this::decode);
        }

        private static String room(StubEngine.Call call) {
            call.require(call.request.json().path("bootstrap_port").isInt(), "no port");
            return call.request.json().path("bootstrap_room").toString();
        }

        private void prefill(StubEngine.Call call) throws IOException {
            String room = room(call);
            call.require(prefilled.add(room), "a room for the second time");
            if (call.awaitUnlessGone(() -> decoded.contains(room))) {
                call.respond(200, "application/json", "{\"choices\":[{}]}");
            }
        }

        private void decode(StubEngine.Call call) throws IOException {
            String room = room(call);
            call.require(decoded.add(room), "a room for the second time");
            if (call.awaitUnlessGone(() -> prefilled.contains(room))) {
                StubEngine.decode(call);
            }
        }
    }

    private static final Duration PATIENT = Duration.ofSeconds(30);
    /// Of a prefill leg, where one that stalls has to be given up.
    private static final Duration SHORT = Duration.ofSeconds(2);

    private static Fleet sgLang(int prefillers, int decoders) throws IOException {
        return sgLang(prefillers, decoders, PATIENT);
    }

    private static Fleet sgLang(int prefillers, int decoders, Duration prefillDeadline) throws IOException {
        return new Fleet(
                prefillers,
                decoders,
                config -> config.backend(new SgLang())
                        .probeInterval(Duration.ofMinutes(1))
                        .deadlines(Fleet.PATIENT.withPrefill(prefillDeadline)));
    }

    @ParameterizedTest
    @ValueSource(strings = {REQUEST, STREAM})
    void bothLegsMeet(String body) throws Exception {
        try (Fleet fleet = sgLang(1, 1)) {
            Rooms rooms = new Rooms(fleet);
            HttpResponse<String> answer = fleet.complete(body);
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(rooms.prefilled).hasSize(1).isEqualTo(rooms.decoded);
            assertThat(fleet.prefiller(0).received.element().requestId())
                    .isEqualTo(fleet.decoder(0).received.element().requestId());
            await().untilAsserted(() -> assertThat(fleet.get("/status").body()).contains("\"ttft_ms\""));
            assertThat(fleet.prefiller(0).aborts).isEmpty();
        }
    }

    @Test
    void prefillersAnswerMayComeLaterThanTheDecoders() throws Exception {
        try (Fleet fleet = sgLang(1, 1)) {
            Rooms rooms = new Rooms(fleet);
            fleet.prefiller(0).script = call -> {
                rooms.prefilled.add(Rooms.room(call));
                Fleet.pause(Duration.ofMillis(300));
                call.respond(200, "application/json", "{}");
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo(streamOf(STREAM));
            await().untilAsserted(() -> assertThat(fleet.get("/metrics").body())
                    .containsPattern("time_to_first_token_seconds_count\\{[^}]*role=\"prefiller\"} 1"));
            assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_leg_failures_total{");
        }
    }

    /// The decoder has the KV cache by then: what becomes of the other leg is not the client's matter.
    @ParameterizedTest
    @ValueSource(strings = {"dies", "500", "400", "stalls"})
    void prefillerThatFailsAfterTheDecoderHasBegunChangesNothing(String fault) throws Exception {
        try (Fleet fleet = sgLang(1, 1, fault.equals("stalls") ? SHORT : PATIENT)) {
            Rooms rooms = new Rooms(fleet);
            Set<String> begun = ConcurrentHashMap.newKeySet();
            fleet.prefiller(0).script = call -> {
                rooms.prefilled.add(Rooms.room(call));
                if (call.awaitUnlessGone(() -> !begun.isEmpty())) {
                    fail(call, fault);
                }
            };
            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{\"n\":1}");
                call.awaitRead();
                begun.add("x");
                Fleet.pause(Duration.ofMillis(150));
                call.event("[DONE]");
                call.endEvents();
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo("data: {\"n\":1}\n\ndata: [DONE]\n\n");
        }
    }

    /// So that nobody knows it yet.
    private static void kill(StubEngine engine) throws IOException {
        await().until(() -> engine.probes.get() >= 1);
        engine.kill();
    }

    private static void fail(StubEngine.Call call, String fault) throws IOException {
        switch (fault) {
            case "dies" -> call.die();
            case "stalls" -> call.stall();
            default -> call.respond(Integer.parseInt(fault), "application/json", "{}");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"dies", "500", "503", "302", "stalls", "refuses"})
    void decoderOfAFailedPrefillIsReleasedAndAnotherPairServes(String fault) throws Exception {
        for (String body : List.of(REQUEST, STREAM)) {
            try (Fleet fleet = sgLang(2, 1, fault.equals("stalls") ? SHORT : PATIENT)) {
                Rooms rooms = new Rooms(fleet);
                if (fault.equals("refuses")) {
                    kill(fleet.prefiller(0));
                }
                AtomicInteger failures = new AtomicInteger();
                fleet.prefiller(0).script = call -> { // a leg that is not out yet would just not be sent
                    int number = failures.incrementAndGet();
                    if (call.awaitUnlessGone(() -> rooms.decoded.size() >= number)) {
                        fail(call, fault);
                    }
                };
                HttpResponse<String> answer = fleet.complete(body);
                assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
                assertThat(fleet.prefiller(1).received).hasSize(1);
                int tries = fleet.decoder(0).received.size();
                if (!fault.equals("refuses")) { // that is known before the decoder has its leg
                    assertThat(tries).isGreaterThan(1);
                }
                await().untilAsserted(
                                () -> assertThat(fleet.decoder(0).disconnects).hasValue(tries - 1));
                assertThat(rooms.decoded).as("each try has its own room").hasSize(tries);
                assertThat(fleet.decoder(0).received.stream().map(StubEngine.Received::requestId))
                        .doesNotHaveDuplicates();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"400", "501"})
    void prefillersRefusalIsTheAnswerAndItsDecoderIsReleased(String status) throws Exception {
        try (Fleet fleet = sgLang(2, 1)) {
            Rooms rooms = new Rooms(fleet);
            fleet.prefillers.forEach(engine -> engine.script = call -> {
                if (call.awaitUnlessGone(() -> !rooms.decoded.isEmpty())) {
                    fail(call, status);
                }
            });
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(Integer.parseInt(status));
            await().untilAsserted(() -> assertThat(fleet.decoder(0).disconnects).hasValue(1));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"dies", "500", "503", "refuses"})
    void prefillerOfAFailedDecodeIsReleasedAndAnotherPairServes(String fault) throws Exception {
        try (Fleet fleet = sgLang(1, 2)) {
            new Rooms(fleet);
            if (fault.equals("refuses")) {
                kill(fleet.decoder(0));
            }
            AtomicInteger failures = new AtomicInteger();
            fleet.decoder(0).script = call -> {
                int number = failures.incrementAndGet();
                if (call.awaitUnlessGone(() -> fleet.prefiller(0).received.size() >= number)) {
                    fail(call, fault);
                }
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo(streamOf(STREAM));
            List<StubEngine.Received> legs = new ArrayList<>(fleet.prefiller(0).received);
            if (!fault.equals("refuses")) { // that is known before the prefiller has its leg
                assertThat(legs.size()).isGreaterThan(1);
                await().untilAsserted(
                                () -> assertThat(fleet.prefiller(0).disconnects).hasValue(legs.size() - 1));
                await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts)
                        .extracting(StubEngine.Received::text)
                        .contains("{\"request_ids\":[\"" + legs.getFirst().requestId() + "\"]}"));
            }
            assertThat(fleet.decoder(1).received.element().requestId())
                    .isEqualTo(legs.getLast().requestId());
        }
    }

    @Test
    void bothLegsFeelThatTheClientLeft() throws Exception {
        try (Fleet fleet = sgLang(1, 1)) {
            fleet.prefiller(0).script = StubEngine.Call::stall;
            fleet.decoder(0).script = StubEngine.Call::stall;
            try (Socket client = fleet.startRaw(STREAM)) {
                assertThat(client.isConnected()).isTrue();
                await().until(() -> !fleet.prefiller(0).received.isEmpty()
                        && !fleet.decoder(0).received.isEmpty());
            }
            await().untilAsserted(
                            () -> assertThat(fleet.prefiller(0).disconnects).hasValue(1));
            await().untilAsserted(() -> assertThat(fleet.decoder(0).disconnects).hasValue(1));
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
        }
    }

    @Test
    void legWithoutAnAnswerIsEndedByItsDeadline() throws Exception {
        try (Fleet fleet = sgLang(1, 1, SHORT)) {
            Rooms rooms = new Rooms(fleet);
            fleet.prefiller(0).script = call -> {
                rooms.prefilled.add(Rooms.room(call));
                call.stall();
            };
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            await().untilAsserted(
                            () -> assertThat(fleet.prefiller(0).disconnects).hasValue(1));
        }
    }

    @Test
    void decoderThatLeadsIsToldItsPrefiller() throws Exception {
        try (Fleet fleet = new Fleet(1, 2, config -> config.backend(new LlmD()))) {
            fleet.decoder(0).script = call -> call.respond(500, "application/json", "{}");
            assertThat(fleet.complete(STREAM).body()).isEqualTo(streamOf(STREAM));
            assertThat(fleet.prefiller(0).received).isEmpty();
            assertThat(fleet.prefiller(0).aborts).isEmpty();
            assertThat(fleet.decoders)
                    .allSatisfy(decoder -> assertThat(decoder.received.element().headers())
                            .containsEntry(
                                    "x-prefiller-host-port",
                                    fleet.prefiller(0).address().toString()));
        }
    }

    /// Announcements by hand.
    private static final class ByHand implements Announcements {
        private final Map<String, Runnable> waiting = new ConcurrentHashMap<>();

        @Override
        public Expectation expect(String id, int times, Runnable heard) {
            waiting.put(id, heard);
            return () -> waiting.remove(id);
        }

        private void announce(String id) {
            waiting.getOrDefault(id, () -> {}).run();
        }

        @Override
        public void close() {}
    }

    private static Fleet announced(ByHand announcements, Duration deadline) throws IOException {
        Fleet fleet = new Fleet(
                1,
                1,
                config -> config.backend(new LmCacheMp())
                        .announcements(announcements)
                        .deadlines(Fleet.PATIENT.withAnnouncement(deadline)));
        fleet.prefiller(0).script = call -> call.respond(200, "application/json", "{}");
        return fleet;
    }

    @Test
    void decodeLegWaitsForTheAnnouncement() throws Exception {
        ByHand announcements = new ByHand();
        try (Fleet fleet = announced(announcements, Duration.ofSeconds(20))) {
            CompletableFuture<HttpResponse<String>> answer = CompletableFuture.supplyAsync(() -> completed(fleet));
            await().until(() -> !fleet.prefiller(0).received.isEmpty());
            Fleet.pause(Duration.ofMillis(200));
            assertThat(fleet.decoder(0).received).isEmpty();
            announcements.announce(fleet.prefiller(0).received.element().requestId());
            assertThat(answer.get(30, TimeUnit.SECONDS).body()).isEqualTo(streamOf(STREAM));
            assertThat(announcements.waiting).isEmpty();
            assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_prefill_fallbacks_total{");
        }
    }

    private static HttpResponse<String> completed(Fleet fleet) {
        try {
            return fleet.complete(STREAM);
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void announcementThatOvertakesTheAnswerCounts() throws Exception {
        ByHand announcements = new ByHand();
        try (Fleet fleet = announced(announcements, Duration.ofSeconds(20))) {
            fleet.prefiller(0).script = call -> {
                announcements.announce(call.request.requestId());
                Fleet.pause(Duration.ofMillis(50));
                call.respond(200, "application/json", "{}");
            };
            assertThat(fleet.complete(STREAM).body()).isEqualTo(streamOf(STREAM));
            assertThat(announcements.waiting).isEmpty();
        }
    }

    @Test
    void withoutAnAnnouncementTheDecoderPrefillsInTheEnd() throws Exception {
        ByHand announcements = new ByHand();
        try (Fleet fleet = announced(announcements, Duration.ofMillis(150))) {
            assertThat(fleet.complete(STREAM).body()).isEqualTo(streamOf(STREAM));
            assertThat(fleet.get("/metrics").body())
                    .contains("baton_router_prefill_fallbacks_total{cause=\"not announced\"} 1.0");
            assertThat(announcements.waiting).isEmpty();
        }
    }

    @Test
    void clientThatLeavesBeforeTheAnnouncementIsFelt() throws Exception {
        ByHand announcements = new ByHand();
        try (Fleet fleet = announced(announcements, Duration.ofSeconds(20))) {
            try (Socket client = fleet.startRaw(STREAM)) {
                assertThat(client.isConnected()).isTrue();
                await().until(() -> !announcements.waiting.isEmpty()
                        && !fleet.prefiller(0).received.isEmpty());
                Fleet.pause(Duration.ofMillis(100));
            }
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
            await().untilAsserted(() -> assertThat(announcements.waiting).isEmpty());
            assertThat(fleet.decoder(0).received).isEmpty();
        }
    }
}
