package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import dev.baton.discovery.AllowedEngines;
import dev.baton.http.ApiKeys;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.router.policy.FleetPolicy;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// Modes over HTTP: who may see and switch them, what they say, and what they do to requests.
@Timeout(60)
class PolicyEndpointsTest {
    private static final String REQUEST = "{\"prompt\":\"x\",\"max_tokens\":2}";

    private static Fleet fleet(int prefillers, Mode mode, UnaryOperator<RouterConfig.Builder> settings)
            throws IOException {
        PolicyConfig config = PolicyConfig.defaults().toBuilder().mode(mode).build();
        return new Fleet(prefillers, 1, settings, new FleetPolicy(config, true));
    }

    private static Fleet fleet(Mode mode) throws IOException {
        return fleet(1, mode, settings -> settings);
    }

    private static JsonNode json(String text) {
        return Json.parse(text.getBytes(StandardCharsets.UTF_8));
    }

    private static int change(Fleet fleet, String path, String... headers) throws Exception {
        HttpRequest.Builder request = fleet.request(path).POST(HttpRequest.BodyPublishers.noBody());
        if (headers.length > 0) {
            request.headers(headers);
        }
        return fleet.send(request).statusCode();
    }

    /// A prefiller that also answers what is not to be handed over.
    private static void answerEither(StubEngine.Call call) throws IOException {
        if (call.request.json().has("kv_transfer_params")) {
            StubEngine.prefill(call);
        } else {
            StubEngine.decode(call);
        }
    }

    @Test
    void modeIsSeenAndSwitchedAndChangesTheRoutes() throws Exception {
        try (Fleet fleet = fleet(Mode.PD)) {
            assertThat(json(fleet.get("/mode").body()).path("mode").asString()).isEqualTo("pd");
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(fleet.prefiller(0).received).hasSize(1);
            fleet.prefiller(0).script = PolicyEndpointsTest::answerEither;
            assertThat(change(fleet, "/mode/aggregated")).isEqualTo(200);
            assertThat(json(fleet.get("/status").body()).path("mode").asString())
                    .isEqualTo("aggregated");
            for (int i = 0; i < 4; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(json(fleet.get("/decisions").body()).path("decisions").valueStream())
                    .filteredOn(decision -> decision.path("mode").asString().equals("aggregated"))
                    .hasSize(4)
                    .noneMatch(decision -> decision.path("route").asString().contains("disaggregated"));
            assertThat(change(fleet, "/mode/bogus")).isEqualTo(400);
            assertThat(fleet.get("/mode/pd").statusCode()).isEqualTo(405);
        }
    }

    @Test
    void decisionsCanBeReadWithTheirNumbersAndTimes() throws Exception {
        try (Fleet fleet = fleet(Mode.ADAPTIVE)) {
            fleet.prefiller(0).script = PolicyEndpointsTest::answerEither;
            for (int i = 0; i < 3; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            String text = fleet.get("/decisions").body();
            JsonNode decisions = json(text).path("decisions");
            assertThat(decisions).hasSize(3);
            for (JsonNode decision : decisions) {
                assertThat(decision.path("reason").asString()).isNotEmpty();
                assertThat(decision.path("considered").valueStream()).allMatch(route -> route.has("cost"));
                assertThat(decision.path("outcome").path("served").asBoolean()).isTrue();
            }
            assertThat(text).containsPattern("\"at\":\\d{10}\\.\\d{3}[,}]");
            assertThat(json(fleet.get("/stats").body()).path("engines")).hasSize(2);
            assertThat(change(fleet, "/conversations/clear")).isEqualTo(200);
        }
    }

    @Test
    void decisionsSayWhatKeptARequestFromBeingHandedOver() throws Exception {
        Logger log = (Logger) LoggerFactory.getLogger(RoutedRequest.class);
        Level level = log.getLevel();
        ListAppender<ILoggingEvent> lines = new ListAppender<>();
        lines.start();
        log.setLevel(Level.DEBUG);
        log.addAppender(lines);
        try (Fleet fleet = fleet(Mode.PD)) {
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(json(fleet.get("/decisions").body()).path("not_handed_over"))
                    .isEmpty();
            for (String more : List.of("\"n\":2", "\"echo\":true")) {
                assertThat(fleet.complete("{\"prompt\":\"CANARY\",\"max_tokens\":2," + more + "}")
                                .statusCode())
                        .isEqualTo(200);
            }
            String text = fleet.get("/decisions").body();
            assertThat(json(text)
                            .path("not_handed_over")
                            .valueStream()
                            .map(entry -> entry.path("obstacle").asString()))
                    .containsExactly("log probabilities or text of the prompt", "several prompts or sequences");
            assertThat(text).doesNotContain("CANARY");
            String id = json(text).at("/not_handed_over/1/id").asString();
            assertThat(fleet.decoder(0).received)
                    .extracting(StubEngine.Received::requestId)
                    .contains(id);
            assertThat(lines.list)
                    .extracting(ILoggingEvent::getFormattedMessage)
                    .contains("request " + id + " cannot be handed over: it asks for several prompts or sequences");
        } finally {
            log.detachAppender(lines);
            log.setLevel(level);
        }
    }

    @Test
    void prefillerThatMayAnswerByItselfKeepsTheRouterHealthy() throws Exception {
        try (Fleet fleet = fleet(Mode.ADAPTIVE)) {
            fleet.prefiller(0).script = PolicyEndpointsTest::answerEither;
            fleet.decoder(0).kill();
            await().until(() -> fleet.complete(REQUEST).statusCode() == 200
                    && fleet.get("/status").body().contains("\"down\""));
            assertThat(fleet.get("/health").statusCode()).isEqualTo(200);
            assertThat(change(fleet, "/mode/pd")).isEqualTo(200);
            assertThat(fleet.get("/health").statusCode()).isEqualTo(503);
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(503);
        }
    }

    /// What needs several sequences or the prompt's own text is never handed over, but any whole engine can do it.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"prompt\":\"x\",\"max_tokens\":2,\"n\":2}",
                "{\"prompt\":\"x\",\"max_tokens\":2,\"echo\":true}",
                "{\"prompt\":\"x\",\"max_tokens\":2,\"prompt_logprobs\":1,\"stream\":true}",
                "{\"prompt\":[\"x\",\"y\"],\"max_tokens\":2}",
            })
    void requestThatCannotBeHandedOverIsAnsweredByAPrefillerWhereNoDecoderIsUp(String request) throws Exception {
        for (Mode mode : List.of(Mode.ADAPTIVE, Mode.AGGREGATED)) {
            try (Fleet fleet = fleet(1, mode, settings -> settings)) {
                fleet.prefiller(0).script = StubEngine::decode;
                fleet.decoder(0).kill();
                await().until(() -> fleet.get("/status").body().contains("\"down\""));
                HttpResponse<String> answer = fleet.complete(request);
                assertThat(answer.statusCode()).as(mode + " " + answer.body()).isEqualTo(200);
                assertThat(fleet.prefiller(0).received)
                        .singleElement()
                        .matches(leg -> !leg.json().has("kv_transfer_params"));
                assertThat(fleet.get("/metrics?engines=0").body())
                        .contains("endpoint=\"/v1/completions\",outcome=\"200\",route=\"aggregated\"} 1.0");
                assertThat(change(fleet, "/mode/pd")).isEqualTo(200);
                assertThat(fleet.complete(request).statusCode())
                        .as("the mode says that prefillers answer nothing alone")
                        .isEqualTo(503);
            }
        }
    }

    @Test
    void withoutKeysOnlyPagesOfOtherOriginsMayNotSwitch() throws Exception {
        try (Fleet fleet = fleet(Mode.PD)) {
            assertThat(change(fleet, "/mode/ppd", "origin", "http://evil.example"))
                    .isEqualTo(401);
            assertThat(change(fleet, "/mode/ppd")).isEqualTo(200);
        }
    }

    @Test
    void apiKeyIsNeededToSwitchWhereThereAreKeys() throws Exception {
        UnaryOperator<RouterConfig.Builder> keys = settings -> settings.server(HttpServerConfig.builder("127.0.0.1", 0)
                .apiKeys(ApiKeys.of(List.of("sk-a")))
                .build());
        try (Fleet fleet = fleet(1, Mode.PD, keys)) {
            assertThat(change(fleet, "/mode/ppd")).isEqualTo(401);
            assertThat(change(fleet, "/mode/ppd", "authorization", "Bearer sk-b"))
                    .isEqualTo(401);
            assertThat(change(fleet, "/mode/ppd", "authorization", "Bearer sk-a"))
                    .isEqualTo(200);
            assertThat(fleet.get("/mode").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void adminKeyGuardsReadingAndSwitching() throws Exception {
        FleetConfig admins = new FleetConfig(ApiKeys.of(List.of("admin")), false, AllowedEngines.privateNetworks());
        try (Fleet fleet = fleet(1, Mode.PD, settings -> settings.fleet(admins))) {
            for (String path : Set.of("/mode", "/decisions", "/stats", "/conversations")) {
                assertThat(fleet.get(path).statusCode()).as(path).isEqualTo(401);
            }
            assertThat(change(fleet, "/mode/ppd")).isEqualTo(401);
            assertThat(change(fleet, "/mode/ppd", "x-api-key", "admin")).isEqualTo(200);
        }
    }
}
