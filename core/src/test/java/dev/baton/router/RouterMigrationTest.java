package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.router.policy.Decision;
import dev.baton.router.policy.EngineView;
import dev.baton.router.policy.PolicyRequest;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.RouteOutcome;
import dev.baton.router.policy.RoutingPolicy;
import java.io.InputStream;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// A decoder that fails in the midst of a stream is replaced, and the client gets the stream that it would have
/// got.
@Timeout(60)
class RouterMigrationTest {
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":9,\"stream\":true}";
    private static final String WITH_USAGE =
            "{\"prompt\":\"x\",\"max_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
    private static final String CHAT =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":9,\"stream\":true}";

    private static void assertWhole(String body, HttpResponse<String> answer) {
        assertThat(answer.statusCode()).isEqualTo(200);
        assertThat(answer.body()).isEqualTo(TokenScript.expected(body, body.equals(CHAT), answer.body()));
        assertThat(answer.headers().map().keySet()).noneMatch(name -> name.startsWith("x-baton"));
    }

    private static HttpResponse<String> stream(Fleet fleet, String body) throws Exception {
        return fleet.post(body.equals(CHAT) ? "/v1/chat/completions" : "/v1/completions", body);
    }

    private static void all(Fleet fleet, StubEngine.Script script) {
        fleet.decoders.forEach(decoder -> decoder.script = script);
    }

    @ParameterizedTest
    @ValueSource(strings = {STREAM, WITH_USAGE, CHAT})
    void whatTheEngineTellsTheRouterIsNotTheClients(String body) throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            all(fleet, TokenScript.sound());
            assertWhole(body, stream(fleet, body));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "0, dies",
        "1, dies",
        "4, dies",
        "8, dies",
        "4, ends",
        "4, stalls",
        "4, says so",
        "4, half an event",
        "4, silent"
    })
    void anotherDecoderGoesOn(int tokens, String fault) throws Exception {
        for (String body : List.of(STREAM, WITH_USAGE, CHAT)) {
            try (Fleet fleet = new Fleet(
                    1,
                    2,
                    config -> config.deadlines(Fleet.PATIENT
                            .withGap(Duration.ofMillis(fault.equals("stalls") ? 1_000 : 20_000))
                            .withProbe(Duration.ofMillis(fault.equals("silent") ? 1_000 : 20_000))))) {
                all(fleet, TokenScript.sound());
                fleet.decoder(0).script = TokenScript.faultAfter(tokens, call -> fail(call, fault));
                assertWhole(body, stream(fleet, body));
                assertThat(fleet.decoder(1).received).hasSize(1);
                if (tokens == 0 && !body.equals(CHAT)) {
                    continue; // nothing was sent, so that the same hand-over serves
                }
                assertThat(fleet.prefiller(0).received)
                        .as("what was sent is prefilled along with the prompt")
                        .hasSize(2)
                        .last()
                        .satisfies(leg -> assertThat(leg.text()).contains("continue_from"));
                assertThat(fleet.get("/metrics").body())
                        .contains("baton_router_stream_migrations_total{outcome=\"continued\"} 1.0")
                        .contains("outcome=\"200\"")
                        .doesNotContain("outcome=\"stream_error\"");
            }
        }
    }

    private static void fail(StubEngine.Call call, String fault) throws java.io.IOException {
        switch (fault) {
            case "dies" -> call.die();
            case "ends" -> call.endEvents();
            case "stalls" -> call.stall();
            case "silent" -> {
                call.engine.healthStalls = true;
                call.stall();
            }
            case "says so" -> {
                call.event("{\"error\":{\"message\":\"The server is shutting down.\",\"code\":503}}");
                call.stall();
            }
            default -> {
                call.raw(": baton tokens 99\ndata: {\"choi");
                call.awaitRead();
                call.die();
            }
        }
    }

    @Test
    void theSeedOfARequestWithoutOneStaysTheSame() throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            TokenScript broken = TokenScript.faultAfter(3, StubEngine.Call::die);
            TokenScript sound = TokenScript.sound();
            fleet.decoder(0).script = broken;
            fleet.decoder(1).script = sound;
            assertWhole(STREAM, stream(fleet, STREAM));
            assertThat(broken.seeds).hasSize(1).isEqualTo(sound.seeds);
        }
    }

    @Test
    void everyTryHasItsOwnId() throws Exception {
        try (Fleet fleet = new Fleet(1, 3)) {
            AtomicInteger calls = new AtomicInteger();
            TokenScript broken = TokenScript.faultAfter(2, StubEngine.Call::die);
            TokenScript sound = TokenScript.sound();
            fleet.decoders.forEach(
                    decoder -> decoder.script = call -> (calls.incrementAndGet() < 3 ? broken : sound).answer(call));
            assertWhole(STREAM, stream(fleet, STREAM));
            Set<String> ids = new HashSet<>();
            fleet.prefiller(0).received.forEach(leg -> ids.add(leg.requestId()));
            assertThat(ids).hasSize(3);
            fleet.decoders.forEach(decoder ->
                    assertThat(ids).contains(decoder.received.element().requestId()));
        }
    }

    @Test
    void aStreamMovesAsOftenAsItIsAllowedTo() throws Exception {
        try (Fleet fleet = new Fleet(0, 3, config -> config.maxMigrations(1))) {
            all(fleet, TokenScript.faultAfter(2, StubEngine.Call::die));
            HttpResponse<String> answer = stream(fleet, STREAM);
            assertThat(answer.body())
                    .contains("\"t3\"")
                    .doesNotContain("\"t4\"", "[DONE]")
                    .endsWith("\"code\":500}}\n\n");
            assertThat(fleet.decoders.stream()
                            .mapToInt(decoder -> decoder.received.size())
                            .sum())
                    .isEqualTo(2);
        }
    }

    @Test
    void withoutAnotherDecoderTheStreamEndsWithAnErrorEvent() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            all(fleet, TokenScript.faultAfter(2, StubEngine.Call::die));
            HttpResponse<String> answer = stream(fleet, STREAM);
            assertThat(answer.body())
                    .contains("\"t1\"")
                    .doesNotContain("[DONE]")
                    .endsWith("\"code\":500}}\n\n");
            assertThat(fleet.get("/metrics").body()).contains("outcome=\"stream_error\"");
        }
    }

    @Test
    void anErrorOfTheRequestIsTheClients() throws Exception {
        String error = "{\"error\":{\"message\":\"no\",\"code\":400}}";
        try (Fleet fleet = new Fleet(0, 2)) {
            all(fleet, TokenScript.faultAfter(2, call -> call.event(error)));
            HttpResponse<String> answer = stream(fleet, STREAM);
            assertThat(answer.body()).contains("\"t1\"").endsWith("data: " + error + "\n\n");
            assertThat(fleet.decoder(1).received).isEmpty();
        }
    }

    /// Nothing is missing but the line that says so.
    @Test
    void aStreamThatBreaksBeforeItsLastLineIsCompletedByTheRouter() throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            fleet.decoder(0).script = call -> {
                call.startEvents("content-type: text/event-stream\r\nx-baton-continuable: 1\r\n");
                call.raw(": baton tokens 100\ndata: {\"id\":\"a\",\"choices\":[{\"text\":\"t0\","
                        + "\"finish_reason\":\"stop\"}]}\n\n");
                call.awaitRead();
                call.die();
            };
            assertThat(stream(fleet, STREAM).body()).endsWith("\"stop\"}]}\n\ndata: [DONE]\n\n");
            assertThat(fleet.decoder(1).received).isEmpty();
        }
    }

    /// The usage is still owed: whoever goes on finds the last token, and the end, once more.
    @Test
    void aStreamThatBreaksBeforeItsUsageGetsItFromAnotherDecoder() throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            fleet.decoder(1).script = TokenScript.sound();
            fleet.decoder(0).script = TokenScript.faultAfter(9, StubEngine.Call::die);
            assertWhole(WITH_USAGE, stream(fleet, WITH_USAGE));
            assertThat(fleet.decoder(1).received.element().json().at("/continue_from/output_token_ids"))
                    .hasSize(8);
            assertThat(fleet.decoder(1)
                            .received
                            .element()
                            .json()
                            .at("/continue_from/num_events")
                            .asInt(0))
                    .isEqualTo(9);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"refuses", "503", "400", "prefiller dies", "prefiller refuses"})
    void whoeverCannotGoOnIsPassedOver(String fault) throws Exception {
        try (Fleet fleet = new Fleet(2, 3)) {
            all(fleet, TokenScript.sound());
            fleet.decoder(0).script = TokenScript.faultAfter(4, call -> {
                switch (fault) {
                    case "refuses" -> fleet.decoder(1).kill();
                    case "503", "400" ->
                        fleet.decoder(1).script =
                                other -> other.respond(Integer.parseInt(fault), "application/json", "{}");
                    case "prefiller dies" -> fleet.prefiller(1).kill();
                    default -> fleet.prefiller(1).script = other -> other.respond(400, "application/json", "{}");
                }
                call.die();
            });
            assertWhole(STREAM, stream(fleet, STREAM));
        }
    }

    @Test
    void manyStreamsGoOnWhenTheirDecoderIsKilled() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            String body = "{\"prompt\":\"x\",\"max_tokens\":100,\"stream\":true}";
            all(fleet, TokenScript.sound().withGap(Duration.ofMillis(5)));
            List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                answers.add(fleet.client.sendAsync(
                        fleet.request("/v1/completions")
                                .header("content-type", "application/json")
                                .POST(HttpRequest.BodyPublishers.ofString(body))
                                .build(),
                        HttpResponse.BodyHandlers.ofString()));
            }
            await().until(() -> fleet.decoder(0).received.size() == 20);
            Fleet.pause(Duration.ofMillis(150));
            fleet.decoder(0).kill();
            for (CompletableFuture<HttpResponse<String>> answer : answers) {
                assertWhole(body, answer.get(20, TimeUnit.SECONDS));
            }
            assertThat(fleet.get("/metrics").body()).doesNotContain("outcome=\"stream_error\"");
        }
    }

    /// The client leaves while another decoder is asked to go on.
    @ParameterizedTest
    @ValueSource(strings = {"prefill", "decode"})
    void clientThatLeavesMeanwhileIsFelt(String where) throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            AtomicBoolean moving = new AtomicBoolean();
            StubEngine stuck = where.equals("prefill") ? fleet.prefiller(0) : fleet.decoder(1);
            fleet.decoder(0).script = TokenScript.faultAfter(2, call -> {
                stuck.script = StubEngine.Call::stall;
                moving.set(true);
                call.die();
            });
            try (Socket client = fleet.startRaw(STREAM)) {
                InputStream in = client.getInputStream();
                assertThat(in.read()).isEqualTo('H');
                await().until(() -> moving.get()
                        && stuck.received.stream().anyMatch(leg -> leg.text().contains("continue_from")));
            }
            await().untilAsserted(() -> assertThat(stuck.disconnects).hasValue(1));
            await().untilAsserted(() -> assertThat(fleet.prefiller(0).aborts)
                    .last()
                    .satisfies(notice -> assertThat(notice.text())
                            .contains(new ArrayList<>(fleet.prefiller(0).received)
                                    .getLast()
                                    .requestId())));
        }
    }

    /// What vLLM does: token ids if asked for, and nothing of Baton's own.
    private static void vllm(StubEngine.Call call, int dieAfter) throws java.io.IOException {
        JsonNode body = call.request.json();
        if (!call.valid(body)) {
            return;
        }
        call.require(!body.has("continue_from"), "not a field of vLLM's");
        boolean chat = call.request.path().equals("/v1/chat/completions");
        boolean ids = body.path("return_token_ids").asBoolean(false);
        JsonNode prompt = body.path("prompt");
        int begin = prompt.isArray() ? prompt.size() - 2 : 0;
        for (int i = 0; i < begin; i++) {
            call.require(prompt.get(2 + i).asInt(0) == 100 + i, "token " + i + " is wrong");
        }
        String head = "{\"id\":\"" + (chat ? "chatcmpl-" : "cmpl-") + call.request.requestId() + "\",\"object\":\""
                + (chat ? "chat.completion.chunk" : "text_completion") + "\",\"created\":" + System.nanoTime()
                + ",\"model\":\"m\",\"choices\":[";
        String promptIds = "\"prompt_token_ids\":" + (ids ? prompt.isArray() ? prompt : "[7,8]" : "null");
        call.startEvents();
        if (chat) {
            call.event(head + "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                    + "\"finish_reason\":null}]," + promptIds + ",\"prompt_text\":null}");
        }
        int total = body.path("max_tokens").asInt(16);
        for (int i = 0; i < total; i++) {
            if (i == dieAfter) {
                call.awaitRead();
                call.die();
                return;
            }
            int n = begin + i;
            String text = n % 3 == 1 ? "" : "t" + n; // a part of a character now and then
            String tokenIds = "\"token_ids\":" + (ids ? "[" + (100 + n) + "]" : "null");
            String end = "\"logprobs\":null,\"finish_reason\":" + (i < total - 1 ? "null" : "\"length\"");
            String stop = ",\"stop_reason\":null";
            call.event(
                    chat
                            ? head + "{\"index\":0,\"delta\":{\"content\":\"" + text + "\"}," + end
                                    + (i < total - 1 ? "" : stop) + "," + tokenIds + "}]}"
                            : head + "{\"index\":0,\"text\":\"" + text + "\"," + end + stop + ","
                                    + (i == 0 ? promptIds : "\"prompt_token_ids\":null") + "," + tokenIds + "}]}");
        }
        if (body.at("/stream_options/include_usage").asBoolean(false)) {
            int prompted = 2 + begin;
            call.event(head + "],\"usage\":{\"prompt_tokens\":" + prompted + ",\"total_tokens\":" + (prompted + total)
                    + ",\"completion_tokens\":" + total + "}}");
        }
        call.event("[DONE]");
        call.endEvents();
    }

    /// The router finds out by an engine's first stream that it has to be asked for token ids.
    @ParameterizedTest
    @CsvSource({"1, false", "3, false", "5, false", "9, false", "3, true", "6, true"})
    void streamsOfEnginesThatSayTokenIdsGoOnToo(int tokens, boolean askedByClient) throws Exception {
        for (String plain : List.of(STREAM, WITH_USAGE, CHAT)) {
            String asked =
                    askedByClient ? plain.substring(0, plain.length() - 1) + ",\"return_token_ids\":true}" : plain;
            try (Fleet fleet = new Fleet(1, 2)) {
                AtomicInteger dieAfter = new AtomicInteger(-1);
                fleet.decoders.forEach(decoder -> decoder.script = call -> vllm(call, dieAfter.getAndSet(-1)));
                String path = plain.equals(CHAT) ? "/v1/chat/completions" : "/v1/completions";
                fleet.post(path, asked);
                fleet.post(path, asked);
                String undisturbed = same(fleet.post(path, asked).body());
                dieAfter.set(tokens);
                String moved = fleet.post(path, asked).body();
                assertThat(same(moved)).isEqualTo(undisturbed);
                assertThat(moved.lines()
                                .filter(line -> line.contains("\"id\":"))
                                .map(line -> line.substring(0, 70)))
                        .as("one head")
                        .containsOnly(moved.substring(0, 70));
                assertThat(fleet.get("/metrics").body()).doesNotContain("outcome=\"stream_error\"");
            }
        }
    }

    /// An engine that says no token ids, whatever it is asked.
    private static void untold(StubEngine.Call call, int dieAfter) throws java.io.IOException {
        JsonNode body = call.request.json();
        if (!call.valid(body)) {
            return;
        }
        String prompt = body.path("prompt").asString("");
        int begin = prompt.split("\u00e9\"", -1).length - 1; // what the output so far looks like
        String head = "{\"id\":\"cmpl-" + call.request.requestId() + "\",\"created\":" + System.nanoTime()
                + ",\"model\":\"m\",\"choices\":[";
        call.startEvents();
        int total = body.path("max_tokens").asInt(16);
        for (int i = 0; i < total; i++) {
            if (i == dieAfter) {
                call.awaitRead();
                call.die();
                return;
            }
            call.event(head + "{\"index\":0,\"text\":\" " + (begin + i) + "\u00e9\\\"\",\"finish_reason\":"
                    + (i < total - 1 ? "null" : "\"length\"") + "}]}");
        }
        if (body.at("/stream_options/include_usage").asBoolean(false)) {
            call.event(head + "],\"usage\":{\"prompt_tokens\":" + (2 + begin) + ",\"total_tokens\":"
                    + (2 + begin + total) + ",\"completion_tokens\":" + total + "}}");
        }
        call.event("[DONE]");
        call.endEvents();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 7})
    void streamsOfEnginesThatSayNoTokensGoOnFromTheirText(int tokens) throws Exception {
        for (String body : List.of(STREAM, WITH_USAGE)) {
            try (Fleet fleet = new Fleet(1, 2)) {
                AtomicInteger dieAfter = new AtomicInteger(-1);
                fleet.decoders.forEach(decoder -> decoder.script = call -> untold(call, dieAfter.getAndSet(-1)));
                fleet.complete(body);
                fleet.complete(body);
                String undisturbed = same(fleet.complete(body).body());
                dieAfter.set(tokens);
                assertThat(same(fleet.complete(body).body())).isEqualTo(undisturbed);
                assertThat(fleet.get("/metrics").body()).contains("outcome=\"continued from text\"");
            }
        }
    }

    @Test
    void fromTheirTextOnlyWhereThatIsWanted() throws Exception {
        try (Fleet fleet = new Fleet(1, 2, config -> config.exactContinuation(true))) {
            AtomicInteger dieAfter = new AtomicInteger(-1);
            fleet.decoders.forEach(decoder -> decoder.script = call -> untold(call, dieAfter.getAndSet(-1)));
            fleet.complete(STREAM);
            fleet.complete(STREAM);
            dieAfter.set(3);
            assertThat(stream(fleet, STREAM).body()).doesNotContain("[DONE]").contains("\"error\"");
        }
    }

    /// Without what may differ: who said it when, and events without text, of which one may come again.
    private static String same(String stream) {
        return stream.replaceAll("data: [^\n]*\"(text|content)\":\"\"[^\n]*\"finish_reason\":null[^\n]*\n\n", "")
                .replaceAll("\"id\":\"[a-z0-9-]+\",", "")
                .replaceAll("\"created\":[0-9]+,", "")
                .replaceAll("\"prompt_token_ids\":null,", "")
                .replaceAll(",\"prompt_token_ids\":null", "");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"stop\":[\"x\"]",
                "\"seed\":3",
                "\"presence_penalty\":0.5",
                "\"response_format\":{\"type\":\"json_object\"}",
                "\"logprobs\":1"
            })
    void whatAnEngineWouldForgetIsNotContinuedFromAPrompt(String field) throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            AtomicInteger dieAfter = new AtomicInteger(-1);
            fleet.decoders.forEach(decoder -> decoder.script = call -> vllm(call, dieAfter.getAndSet(-1)));
            String body = STREAM.substring(0, STREAM.length() - 1) + "," + field + "}";
            stream(fleet, body);
            stream(fleet, body);
            dieAfter.set(4);
            assertThat(stream(fleet, body).body()).doesNotContain("[DONE]").endsWith("\"code\":500}}\n\n");
            fleet.decoders.forEach(decoder -> assertThat(decoder.received)
                    .allSatisfy(leg -> assertThat(leg.text()).doesNotContain("return_token_ids")));
        }
    }

    /// The ids of a long prompt come in one event: 15 MB of it are no more than the client gets of them, nothing.
    @ParameterizedTest
    @CsvSource({"1500000, 200", "15000000, 200", "17000000, 502"})
    void firstEventHasTheIdsOfALongPrompt(int idBytes, int status) throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            fleet.decoders.forEach(decoder -> decoder.script = call -> {
                boolean ids = call.request.json().path("return_token_ids").asBoolean(false);
                call.startEvents();
                call.raw(
                        "data: {\"id\":\"a\",\"choices\":[{\"text\":\"t0\",\"finish_reason\":null,\"prompt_token_ids\":["
                                + (ids ? "12345,".repeat(idBytes / 6) : "") + "7],\"token_ids\":[100]}]}\n\n");
                call.event("[DONE]");
                call.endEvents();
            });
            stream(fleet, STREAM);
            stream(fleet, STREAM);
            HttpResponse<String> answer = stream(fleet, STREAM);
            assertThat(fleet.decoders.stream()
                            .flatMap(decoder -> decoder.received.stream())
                            .filter(leg -> leg.text().contains("return_token_ids")))
                    .isNotEmpty();
            assertThat(answer.statusCode()).isEqualTo(status);
            if (status == 200) {
                assertThat(answer.body())
                        .contains("\"t0\"")
                        .contains("\"prompt_token_ids\":null")
                        .endsWith("}\n\ndata: [DONE]\n\n");
            }
        }
    }

    /// A client that asks for the ids itself gets them, however many.
    @Test
    void idsOfALongPromptPassInPieces() throws Exception {
        try (Fleet fleet = new Fleet(0, 1)) {
            String event = "{\"choices\":[{\"text\":\"t0\",\"prompt_token_ids\":[" + "12345,".repeat(400_000)
                    + "7],\"token_ids\":[100]}]}";
            all(fleet, call -> {
                call.startEvents();
                call.event(event);
                call.event("[DONE]");
                call.endEvents();
            });
            String body = STREAM.substring(0, STREAM.length() - 1) + ",\"return_token_ids\":true}";
            for (int i = 0; i < 2; i++) {
                assertThat(stream(fleet, body).body()).isEqualTo("data: " + event + "\n\ndata: [DONE]\n\n");
            }
        }
    }

    /// Not every engine goes on: one that knows nothing of it would begin the answer anew.
    @Test
    void engineThatBeginsAnewIsPassedOver() throws Exception {
        try (Fleet fleet = new Fleet(0, 3)) {
            fleet.decoder(0).script = TokenScript.faultAfter(4, StubEngine.Call::die);
            AtomicInteger asked = new AtomicInteger();
            StubEngine.Script either = call -> (asked.incrementAndGet() == 1
                            ? (StubEngine.Script) StubEngine::decode
                            : TokenScript.sound())
                    .answer(call);
            fleet.decoder(1).script = either;
            fleet.decoder(2).script = either;
            assertWhole(STREAM, stream(fleet, STREAM));
            assertThat(asked).hasValue(2);
        }
    }

    @Test
    void engineKnownToBeginAnewIsNotAsked() throws Exception {
        try (Fleet fleet = new Fleet(0, 3)) {
            fleet.decoder(1).script = StubEngine::decode;
            fleet.decoder(0).script = TokenScript.sound();
            fleet.decoder(2).script = TokenScript.sound();
            for (int i = 0; i < 3; i++) { // once around
                stream(fleet, STREAM);
            }
            fleet.decoder(0).script = TokenScript.faultAfter(4, StubEngine.Call::die);
            assertWhole(STREAM, stream(fleet, STREAM));
            assertThat(fleet.decoder(1).received).hasSize(1);
        }
    }

    /// Who was not asked for comments says nothing about itself by writing none.
    @Test
    void tokenIdsAreAskedOnlyOfEnginesThatIgnoredTheHeader() throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            all(fleet, call -> {
                call.startEvents("content-type: text/event-stream\r\n"
                        + (call.request.headers().containsKey("x-baton-continuable")
                                ? "x-baton-continuable: 1\r\n"
                                : ""));
                call.event("{\"choices\":[{\"text\":\"t\",\"finish_reason\":null}]}");
                call.event("[DONE]");
                call.endEvents();
            });
            for (int i = 0; i < 4; i++) {
                fleet.complete("{\"prompt\":\"x\",\"n\":2,\"stream\":true}");
            }
            stream(fleet, STREAM);
            stream(fleet, STREAM);
            fleet.decoders.forEach(decoder -> assertThat(decoder.received)
                    .allSatisfy(leg -> assertThat(leg.text()).doesNotContain("return_token_ids")));
        }
    }

    @Test
    void streamThatEndsInHalfAnEventGoesOnWhole() throws Exception {
        try (Fleet fleet = new Fleet(0, 2)) {
            all(fleet, TokenScript.sound());
            fleet.decoder(0).script = TokenScript.faultAfter(4, call -> {
                call.raw("data: {\"choices\":[{\"te");
                call.endEvents();
            });
            assertWhole(STREAM, stream(fleet, STREAM));
        }
    }

    @Test
    void clientCannotSayWhereToGoOn() throws Exception {
        try (Fleet fleet = new Fleet(0, 1)) {
            fleet.complete("{\"prompt\":\"x\",\"continue_from\":{\"output_token_ids\":[1]}}");
            assertThat(fleet.decoder(0).received.element().text()).doesNotContain("continue_from");
        }
    }

    @Test
    void severalSequencesAreNotMoved() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            AtomicInteger asked = new AtomicInteger();
            for (StubEngine decoder : fleet.decoders) {
                decoder.script = call -> {
                    asked.addAndGet(call.request.headers().containsKey("x-baton-continuable") ? 1 : 0);
                    StubEngine.decode(call);
                };
            }
            assertThat(fleet.complete("{\"prompt\":\"x\",\"n\":2,\"stream\":true}")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(asked).hasValue(0);
        }
    }

    private static final class Outcomes implements RoutingPolicy {
        private final RoutingPolicy rounds = new RoundRobinPolicy();
        private final Queue<RouteOutcome> ended = new ConcurrentLinkedQueue<>();

        @Override
        public <E extends EngineView> Optional<Decision<E>> route(
                PolicyRequest request, List<E> prefillers, List<E> decoders) {
            return rounds.route(request, prefillers, decoders);
        }

        @Override
        public void ended(PolicyRequest request, RouteOutcome outcome) {
            ended.add(outcome);
        }
    }

    @Test
    void policiesLearnTheTokenCounts() throws Exception {
        Outcomes outcomes = new Outcomes();
        try (Fleet fleet = new Fleet(1, 1, config -> config, outcomes)) {
            all(fleet, TokenScript.sound());
            stream(fleet, STREAM);
            assertCounts(outcomes, 7, 5, 9);

            fleet.decoder(0).script = call -> {
                call.startEvents();
                call.event("{\"choices\":[{\"text\":\"a \\\"usage\\\":{}\"}]}");
                call.event("{\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":1,"
                        + "\"prompt_tokens_details\":{\"cached_tokens\":8}}}");
                call.event("[DONE]");
                call.endEvents();
            };
            stream(fleet, STREAM);
            assertCounts(outcomes, 11, 8, 1);

            fleet.decoder(0).script = StubEngine::decode;
            stream(fleet, STREAM);
            assertCounts(outcomes, -1, -1, 9);

            fleet.decoder(0).script = call -> call.respond(
                    200,
                    "application/json",
                    "{\"choices\":[{\"text\":\"\\\"usage\\\":{}\"}],\"usage\": {\"prompt_tokens\":3,"
                            + "\"completion_tokens\":2,\"prompt_tokens_details\":null},\"metrics\":null}");
            fleet.complete("{\"prompt\":\"x\"}");
            assertCounts(outcomes, 3, -1, 2);
        }
    }

    private static void assertCounts(Outcomes outcomes, int prompt, int cached, int output) {
        await().until(() -> !outcomes.ended.isEmpty());
        RouteOutcome last = outcomes.ended.remove();
        assertThat(List.of(last.promptTokens(), last.cachedTokens(), last.outputTokens()))
                .isEqualTo(List.of(prompt, cached, output));
        assertThat(last.served()).isTrue();
    }
}
