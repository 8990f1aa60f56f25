package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.awaitility.Awaitility.await;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineJson;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.EngineSource;
import dev.baton.discovery.StaticEngines;
import dev.baton.http.ApiKeys;
import dev.baton.http.Json;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.BackendKind;
import dev.baton.router.backend.ProxyNotifications;
import dev.baton.router.backend.StoreTelemetry;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.slf4j.LoggerFactory;

/// A router over a strict pair of engines of each kind: whatever the protocol, the client gets the decoder's
/// answer.
@Timeout(60)
class BackendsTest {
    /// Whatever another route would cost.
    private static final PolicyConfig ALL_LEGS =
            PolicyConfig.builder().mode(Mode.PD).build();

    private static final String WHOLE = "{\"prompt\":\"one\",\"max_tokens\":3,\"min_tokens\":2}";
    private static final String STREAM =
            "{\"prompt\":\"two\",\"max_tokens\":4,\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
    private static final String CHAT =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"three\"}],\"max_tokens\":2,\"tools\":[],\"logprobs\":true}";

    /// A router over one pair.
    private record Pair(ProtocolEngines engines, Router router, HttpClient client) implements AutoCloseable {
        static Pair of(BackendKind kind) throws IOException {
            ProtocolEngines engines = new ProtocolEngines(kind);
            return of(kind, engines, List.of(engines.prefillerInfo(), engines.decoderInfo()));
        }

        static Pair of(BackendKind kind, ProtocolEngines engines, List<EngineInfo> fleet) {
            return of(kind, engines, fleet, ALL_LEGS);
        }

        static Pair of(BackendKind kind, ProtocolEngines engines, List<EngineInfo> fleet, PolicyConfig policy) {
            EngineSource source = new StaticEngines(fleet);
            Announcements announcements = Announcements.NONE;
            if (kind == BackendKind.LMCACHE_PD) {
                ProxyNotifications receiver = ProxyNotifications.listen("127.0.0.1", 0);
                engines.announcementPort = receiver.port();
                announcements = receiver;
            } else if (kind == BackendKind.LMCACHE_MP) {
                StoreTelemetry receiver = StoreTelemetry.listen("127.0.0.1", 0);
                engines.announcementPort = receiver.port();
                announcements = receiver;
            }
            Router router = Router.start(RouterConfig.builder("127.0.0.1", 0, source)
                    .backend(kind.backend())
                    .announcements(announcements)
                    .policy(policy)
                    .accessLog(false)
                    .deadlines(Fleet.PATIENT)
                    .build());
            return new Pair(engines, router, HttpClient.newHttpClient());
        }

        HttpResponse<String> post(String path, String body) throws IOException, InterruptedException {
            return client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + path))
                            .timeout(Duration.ofSeconds(20))
                            .header("content-type", "application/json")
                            .POST(HttpRequest.BodyPublishers.ofString(body))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
        }

        HttpResponse<String> get(String path) throws IOException, InterruptedException {
            return client.send(
                    HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + path))
                            .timeout(Duration.ofSeconds(20))
                            .build(),
                    HttpResponse.BodyHandlers.ofString());
        }

        HttpResponse<String> complete(String body) throws IOException, InterruptedException {
            return post("/v1/completions", body);
        }

        /// Until a Mooncake prefiller's engine ids are known, requests go past it.
        void awaitHandoffs(BackendKind kind) {
            if (kind == BackendKind.MOONCAKE) {
                StubEngine.Script script = engines.decoder.script;
                engines.decoder.script = engines::answerOnceThePrefillerIsAsked;
                await().atMost(Duration.ofSeconds(20)).until(() -> {
                    complete("{\"prompt\":\"warm-up\",\"max_tokens\":1}");
                    return !engines.prefiller.received.isEmpty();
                });
                engines.decoder.script = script;
                engines.prefiller.received.clear();
                engines.decoder.received.clear();
            }
        }

        @Override
        public void close() throws IOException {
            client.close();
            router.close();
            engines.close();
        }
    }

    @ParameterizedTest
    @EnumSource(BackendKind.class)
    void requestsOfAllFormsAreHandedOver(BackendKind kind) throws Exception {
        try (Pair pair = Pair.of(kind)) {
            pair.awaitHandoffs(kind);
            HttpResponse<String> whole = pair.complete(WHOLE);
            assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
            assertThat(whole.body()).contains("\\\"one\\\"*3");
            HttpResponse<String> stream = pair.complete(STREAM);
            assertThat(stream.body()).isEqualTo(StubEngine.stream(Json.parse(STREAM.getBytes(StandardCharsets.UTF_8))));
            HttpResponse<String> chat = pair.post("/v1/chat/completions", CHAT);
            assertThat(chat.statusCode()).as(chat.body()).isEqualTo(200);
            assertThat(pair.engines.violations()).isEmpty();
            assertThat(pair.engines.decoder.received).hasSize(3);
            assertThat(pair.engines.prefiller.received).hasSize(kind == BackendKind.LLM_D ? 0 : 3);
            StubEngine.Received decodeLeg =
                    List.copyOf(pair.engines.decoder.received).getLast();
            assertThat(decodeLeg.path()).as("chat stays chat").isEqualTo("/v1/chat/completions");
            assertThat(decodeLeg.json().has("tools") && decodeLeg.json().has("logprobs"))
                    .as("nothing of the client's is lost")
                    .isTrue();
        }
    }

    @ParameterizedTest
    @EnumSource(BackendKind.class)
    void batchesAreHandedOverOnlyWhereTheProtocolCan(BackendKind kind) throws Exception {
        try (Pair pair = Pair.of(kind)) {
            pair.awaitHandoffs(kind);
            pair.engines.decoder.script =
                    kind.backend().handsOverBatches() ? pair.engines.decoder.script : StubEngine::decode;
            HttpResponse<String> answer = pair.complete("{\"prompt\":[\"a\",\"b\"],\"max_tokens\":1}");
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(pair.engines.prefiller.received).hasSize(kind.backend().handsOverBatches() ? 1 : 0);
            assertThat(pair.engines.violations()).isEmpty();
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = BackendKind.class,
            names = {"P2P_NCCL", "SGLANG"})
    void whatCannotBeHandedOverIsRefusedWhereDecodersDoNothingAlone(BackendKind kind) throws Exception {
        try (Pair pair = Pair.of(kind)) {
            HttpResponse<String> answer = pair.complete("{\"prompt\":\"a\",\"echo\":true}");
            assertThat(answer.statusCode()).isEqualTo(400);
            assertThat(answer.body()).contains("cannot serve log probabilities or text of the prompt");
            pair.engines.prefiller.kill();
            answer = pair.complete(WHOLE);
            assertThat(answer.statusCode()).isEqualTo(503);
            assertThat(answer.body()).contains("No prefiller is available");
            assertThat(pair.engines.violations()).isEmpty();
            if (kind == BackendKind.P2P_NCCL) { // SGLang's decode leg went out along with the other, and was cancelled
                assertThat(pair.engines.decoder.received).isEmpty();
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = BackendKind.class,
            names = {"P2P_NCCL", "SGLANG"})
    void suchDecodersGetAPrefillerWhateverThePolicySays(BackendKind kind) throws Exception {
        ProtocolEngines engines = new ProtocolEngines(kind);
        try (Pair pair = Pair.of(
                kind,
                engines,
                List.of(engines.prefillerInfo(), engines.decoderInfo()),
                PolicyConfig.builder().mode(Mode.AGGREGATED).build())) {
            assertThat(pair.complete(WHOLE).statusCode()).isEqualTo(200);
            assertThat(engines.prefiller.received).hasSize(1);
            assertThat(engines.violations()).isEmpty();
        }
    }

    /// What a list lacks is found before the router starts, what comes later is said once and keeps it from
    /// being ready.
    @Test
    void engineThatLacksWhatItsBackendNeedsIsRefusedInAListAndDoesNotCountAsReadyElsewhere() throws Exception {
        ProtocolEngines engines = new ProtocolEngines(BackendKind.NIXL_PUSH);
        EngineInfo bare = EngineInfo.of(engines.prefiller.address(), EngineRole.PREFILLER);
        assertThatExceptionOfType(RouterException.class)
                .isThrownBy(() -> Pair.of(BackendKind.NIXL_PUSH, engines, List.of(engines.decoderInfo(), bare)))
                .withMessageContaining("nixl=ENGINE_ID@HOST:PORT");
        FleetConfig open = new FleetConfig(ApiKeys.none(), true, AllowedEngines.privateNetworks());
        Logger log = (Logger) LoggerFactory.getLogger(DescriptionCheck.class);
        ListAppender<ILoggingEvent> lines = new ListAppender<>();
        lines.start();
        log.addAppender(lines);
        try (Router router = Router.start(
                        RouterConfig.builder("127.0.0.1", 0, new StaticEngines(List.of(engines.decoderInfo())))
                                .backend(BackendKind.NIXL_PUSH.backend())
                                .fleet(open)
                                .accessLog(false)
                                .build());
                Pair pair = new Pair(engines, router, HttpClient.newHttpClient())) {
            await().untilAsserted(
                            () -> assertThat(pair.get("/ready").statusCode()).isEqualTo(200));
            pair.post("/instances/add", Json.text(EngineJson.of(bare)));
            pair.post("/instances/add", Json.text(EngineJson.of(bare)));
            await().until(() -> pair.get("/ready").body().contains("\"not_up\":[]"));
            HttpResponse<String> ready = pair.get("/ready");
            assertThat(ready.statusCode()).isEqualTo(503);
            assertThat(ready.body()).contains("cannot_hand_over", "has no NIXL side channel");
            assertThat(lines.list).as("said once").hasSize(1);
            pair.post("/instances/add", Json.text(EngineJson.of(engines.prefillerInfo())));
            await().untilAsserted(
                            () -> assertThat(pair.get("/ready").statusCode()).isEqualTo(200));
        } finally {
            log.detachAppender(lines);
        }
    }

    @Test
    void mooncakeFleetIsReadyOnceItsEngineIdsAreKnown() throws Exception {
        ProtocolEngines engines = new ProtocolEngines(BackendKind.MOONCAKE);
        EngineInfo silent = engines.prefillerInfo().withEndpoint(new ConnectorEndpoint.Bootstrap(1));
        try (Pair pair = Pair.of(BackendKind.MOONCAKE, engines, List.of(silent, engines.decoderInfo()))) {
            await().untilAsserted(() ->
                    assertThat(pair.get("/ready").body()).contains("\"not_up\":[]", "has not said its engine ids"));
            assertThat(pair.get("/ready").statusCode()).isEqualTo(503);
        }
        try (Pair pair = Pair.of(BackendKind.MOONCAKE)) {
            await().untilAsserted(
                            () -> assertThat(pair.get("/ready").statusCode()).isEqualTo(200));
        }
    }

    /// A vLLM decoder would wait for ever, and end when its client leaves.
    @Test
    void mooncakeDecodersAreToldNothingWhileTheEngineIdIsNotKnown() throws Exception {
        ProtocolEngines engines = new ProtocolEngines(BackendKind.MOONCAKE);
        EngineInfo silent = engines.prefillerInfo().withEndpoint(new ConnectorEndpoint.Bootstrap(1));
        try (Pair pair = Pair.of(BackendKind.MOONCAKE, engines, List.of(silent, engines.decoderInfo()))) {
            engines.decoder.script = StubEngine::decode;
            assertThat(pair.complete(WHOLE).statusCode()).isEqualTo(200);
            assertThat(engines.prefiller.received).isEmpty();
            assertThat(engines.decoder.received)
                    .hasSize(1)
                    .allMatch(leg -> !leg.json().has("kv_transfer_params"));
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = BackendKind.class,
            names = {"MOONCAKE", "NIXL_PUSH"})
    void aDecoderThatWaitsForAFailedPrefillerIsEndedAndTheRequestServed(BackendKind kind) throws Exception {
        try (Pair pair = Pair.of(kind)) {
            pair.awaitHandoffs(kind);
            List<StubEngine.Received> served = new ArrayList<>();
            pair.engines.prefiller.script = call -> {
                // A leg that is not out yet would just not be sent.
                if (call.awaitUnlessGone(() -> !pair.engines.decoder.received.isEmpty())) {
                    call.respond(500, "application/json", "{}");
                }
            };
            pair.engines.decoder.script = call -> {
                if (call.request.json().has("kv_transfer_params")) {
                    call.stall();
                } else {
                    served.add(call.request);
                    StubEngine.decode(call);
                }
            };
            HttpResponse<String> answer = pair.complete(WHOLE);
            assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
            assertThat(served).as("by the decoder alone").hasSize(1);
            await().atMost(Duration.ofSeconds(20)).until(() -> pair.engines.decoder.disconnects.get() == 1);
        }
    }

    /// LMCache is off, or failed to start: it says so nowhere but here.
    @Test
    void nothingIsWaitedForIfThePrefillerHasNoLmCache() throws Exception {
        try (Pair pair = Pair.of(BackendKind.LMCACHE_PD)) {
            pair.engines.prefiller.script = call -> call.respond(
                    200, "application/json", "{\"choices\":[{\"text\":\"x\",\"finish_reason\":\"length\"}]}");
            pair.engines.decoder.script = StubEngine::decode;
            long begin = System.nanoTime();
            assertThat(pair.complete(WHOLE).statusCode()).isEqualTo(200);
            assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(15));
        }
    }

    @Test
    void enginesAreShownTheRoutersKeyWhereItHasOne() throws Exception {
        ProtocolEngines engines = new ProtocolEngines(BackendKind.NIXL);
        try (Router router = Router.start(RouterConfig.builder(
                                "127.0.0.1",
                                0,
                                new StaticEngines(List.of(engines.prefillerInfo(), engines.decoderInfo())))
                        .policy(ALL_LEGS)
                        .engineKey(Optional.of("fleet-key"))
                        .accessLog(false)
                        .build());
                Pair pair = new Pair(engines, router, HttpClient.newHttpClient())) {
            assertThat(pair.complete(WHOLE).statusCode()).isEqualTo(200);
            assertThat(engines.prefiller.received)
                    .allMatch(leg -> "Bearer fleet-key".equals(leg.headers().get("authorization")));
            assertThat(engines.decoder.received)
                    .allMatch(leg -> "Bearer fleet-key".equals(leg.headers().get("authorization")));
        }
    }
}
