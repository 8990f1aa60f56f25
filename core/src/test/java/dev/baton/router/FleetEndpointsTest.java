package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.CompositeSource;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.EngineSource;
import dev.baton.discovery.Registrar;
import dev.baton.discovery.StaticEngines;
import dev.baton.discovery.ZmqRegistrations;
import dev.baton.http.ApiKeys;
import dev.baton.http.Certificates;
import dev.baton.http.ClientTls;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.http.ServerTls;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.wire.FreePorts;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// A fleet that is seen and changed over HTTP, and engines that come and go under load.
@Timeout(120)
class FleetEndpointsTest {
    private static final FleetConfig OPEN = new FleetConfig(ApiKeys.none(), true, AllowedEngines.privateNetworks());
    private static final FleetConfig WITH_KEY =
            new FleetConfig(ApiKeys.of(List.of("sesame")), false, AllowedEngines.privateNetworks());
    private static final EngineSource NOBODY = new CompositeSource(List.of());

    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(5))
            .build();
    private final List<StubEngine> engines = new ArrayList<>();
    private Router router;

    @AfterEach
    void nothingIsLeftBehind() throws IOException {
        client.close();
        if (router != null) {
            await().atMost(Duration.ofSeconds(20)).until(() -> router.numInFlight() == 0 && router.numLegs() == 0);
            router.close();
        }
        assertThat(StubEngine.allViolations(engines)).isEmpty();
        for (StubEngine engine : engines) {
            engine.close();
        }
    }

    private void start(FleetConfig fleet, EngineSource configured, int port) {
        RouterConfig config = RouterConfig.builder("127.0.0.1", port, configured)
                .fleet(fleet)
                .accessLog(false)
                .deadlines(Fleet.PATIENT)
                .probeInterval(Duration.ofMillis(100))
                .build();
        router = Router.start(config, new RoundRobinPolicy(), report -> {});
    }

    private StubEngine prefiller() throws IOException {
        engines.add(StubEngine.prefiller());
        return engines.getLast();
    }

    private StubEngine decoder() throws IOException {
        engines.add(StubEngine.decoder());
        return engines.getLast();
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + path))
                .timeout(Duration.ofSeconds(20));
    }

    private HttpResponse<String> send(HttpRequest.Builder request) throws IOException, InterruptedException {
        return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    private HttpResponse<String> post(String path, String singleQuoted) throws IOException, InterruptedException {
        return send(request(path)
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(singleQuoted.replace('\'', '"'))));
    }

    private void change(String path, String singleQuoted) throws IOException, InterruptedException {
        HttpResponse<String> answer = post(path, singleQuoted);
        assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
    }

    private HttpResponse<String> complete() throws IOException, InterruptedException {
        return post("/v1/completions", "{'prompt':'Hi','max_tokens':2}");
    }

    private List<JsonNode> instances() throws IOException, InterruptedException {
        JsonNode answer = Json.parse(send(request("/instances")).body().getBytes(StandardCharsets.UTF_8));
        return StreamSupport.stream(answer.path("instances").spliterator(), false)
                .toList();
    }

    private List<String> addresses() throws IOException, InterruptedException {
        return instances().stream()
                .map(node -> node.path("address").asString(""))
                .toList();
    }

    private void awaitInstances(int number) {
        await().atMost(Duration.ofSeconds(20))
                .pollInterval(Duration.ofMillis(10))
                .until(() -> addresses().size() == number);
    }

    @Test
    void emptyFleetAnswers503WithRetryAfterAndServesOnceEnginesJoin() throws Exception {
        start(OPEN, NOBODY, 0);
        HttpResponse<String> answer = complete();
        assertThat(answer.statusCode()).isEqualTo(503);
        assertThat(answer.headers().firstValue("retry-after")).hasValue("1");
        assertThat(send(request("/health")).statusCode()).isEqualTo(503);
        assertThat(send(request("/ready")).statusCode()).isEqualTo(503);
        assertThat(instances()).isEmpty();
        StubEngine decoder = decoder();
        change("/instances/add", "{'address':'" + decoder.address() + "','role':'decoder'}");
        assertThat(complete().statusCode()).isEqualTo(200);
        StubEngine prefiller = prefiller();
        change("/instances/add", "{'address':'" + prefiller.address() + "','role':'prefiller','weight':2}");
        assertThat(complete().statusCode()).isEqualTo(200);
        assertThat(prefiller.received).hasSize(1);
        await().atMost(Duration.ofSeconds(20))
                .until(() -> send(request("/ready")).statusCode() == 200);
        JsonNode shown = instances().getLast();
        assertThat(shown.path("role").asString("")).isEqualTo("prefiller");
        assertThat(shown.path("weight").asDouble(0)).isEqualTo(2);
        assertThat(shown.path("state").asString("")).isEqualTo("up");
        assertThat(shown.path("sources").toString()).isEqualTo("[\"registrations\"]");
        change("/instances/remove", "{'address':'" + decoder.address() + "'}");
        assertThat(complete().statusCode()).isEqualTo(503);
    }

    /// The form of vLLM's disagg_proxy_demo.py, with its header.
    @Test
    void formOfVllmsDemoProxyIsTaken() throws Exception {
        start(WITH_KEY, NOBODY, 0);
        StubEngine decoder = decoder();
        String body = "{\"type\":\"decode\",\"instance\":\"" + decoder.address() + "\"}";
        HttpRequest.Builder add = request("/instances/add")
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body));
        assertThat(send(add).statusCode()).isEqualTo(401);
        HttpResponse<String> added = send(add.header("x-api-key", "sesame"));
        assertThat(added.statusCode()).as(added.body()).isEqualTo(200);
        assertThat(added.body()).contains("\"message\":\"Added " + decoder.address() + " to decode_instances.\"");
        assertThat(complete().statusCode()).isEqualTo(200);
    }

    @Test
    void keyIsNeededWhereOneIsSet() throws Exception {
        start(WITH_KEY, NOBODY, 0);
        for (String path : List.of("/instances", "/instances/add", "/instances/drain")) {
            assertThat(send(request(path)).statusCode()).isEqualTo(401);
            assertThat(send(request(path).header("authorization", "Bearer open"))
                            .statusCode())
                    .isEqualTo(401);
            assertThat(send(request(path).header("x-api-key", "")).statusCode()).isEqualTo(401);
        }
        assertThat(send(request("/instances").header("authorization", "bearer sesame"))
                        .statusCode())
                .isEqualTo(200);
        assertThat(send(request("/instances/add").header("authorization", "Bearer sesame"))
                        .statusCode())
                .isEqualTo(405);
    }

    @Test
    void fleetCanBeSeenAndNotChangedUnlessSomebodyAllowedIt() throws Exception {
        StubEngine decoder = decoder();
        start(FleetConfig.defaults(), new StaticEngines(List.of(), List.of(decoder.address())), 0);
        assertThat(addresses()).containsExactly(decoder.address().toString());
        HttpResponse<String> answer = post("/instances/drain", "{'address':'" + decoder.address() + "'}");
        assertThat(answer.statusCode()).isEqualTo(403);
        assertThat(answer.body()).contains("--admin-api-key", "--registration");
        assertThat(complete().statusCode()).isEqualTo(200);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "/instances/add    | {                                                          | 400 | JSON decode error",
                "/instances/add    | []                                                         | 400 | must be a JSON object",
                "/instances/add    | {'address':'127.0.0.1:1'}                                  | 400 | 'role' must be text",
                "/instances/add    | {'address':'169.254.169.254:80','role':'decoder'}          | 400 | --allowed-engines",
                "/instances/add    | {'address':'example.org:80','role':'decoder'}              | 400 | --allowed-engines",
                "/instances/add    | {'address':'127.0.0.1:1','role':'D','ttl_seconds':0}       | 400 | ttl_seconds must be",
                "/instances/add    | {'address':'127.0.0.1:1','role':'D','ttl_seconds':'x'}     | 400 | must be a number",
                "/instances/add    | {'instance':'127.0.0.1:1','type':'x'}                      | 400 | 'x' is no role",
                "/instances/add    | {'instance':'127.0.0.1:0','type':'decode'}                 | 400 | port 0",
                "/instances/remove | {'address':'127.0.0.1:1'}                                  | 404 | no engine 127.0.0.1:1",
                "/instances/drain  | {'address':'127.0.0.1:1'}                                  | 404 | no engine 127.0.0.1:1",
                "/instances/drain  | {'address':'127.0.0.1:1','draining':1}                     | 400 | true or false",
                "/instances/role   | {'address':'127.0.0.1:1','role':'both'}                    | 404 | no engine",
                "/instances/weight | {'address':'127.0.0.1:1','weight':'1'}                     | 400 | must be a number",
            })
    void wrongRequestIsExplainedAndChangesNothing(String path, String body, int status, String message)
            throws Exception {
        start(OPEN, NOBODY, 0);
        HttpResponse<String> answer = post(path, body);
        assertThat(answer.statusCode()).isEqualTo(status);
        assertThat(answer.body()).contains(message);
        assertThat(instances()).isEmpty();
    }

    /// A page of another origin can send that without asking.
    @Test
    void bodyOfAnotherTypeIsRefused() throws Exception {
        start(OPEN, NOBODY, 0);
        HttpResponse<String> answer = send(request("/instances/add")
                .header("content-type", "text/plain")
                .POST(HttpRequest.BodyPublishers.ofString("{\"address\":\"127.0.0.1:1\",\"role\":\"decoder\"}")));
        assertThat(answer.statusCode()).isEqualTo(400);
        assertThat(instances()).isEmpty();
    }

    @Test
    void engineOfAListCanBeDrainedButNotRemoved() throws Exception {
        StubEngine one = decoder();
        StubEngine two = decoder();
        start(OPEN, new StaticEngines(List.of(), List.of(one.address(), two.address())), 0);
        change("/instances/add", "{'address':'" + one.address() + "','role':'decoder'}");
        HttpResponse<String> removed = post("/instances/remove", "{'address':'" + one.address() + "'}");
        assertThat(removed.statusCode()).isEqualTo(409);
        assertThat(removed.body()).contains("drain it instead");
        change("/instances/drain", "{'address':'" + one.address() + "'}");
        for (int i = 0; i < 10; i++) {
            assertThat(complete().statusCode()).isEqualTo(200);
        }
        assertThat(one.received).isEmpty();
        assertThat(two.received).hasSize(10);
        change("/instances/drain", "{'address':'" + one.address() + "','draining':false}");
        for (int i = 0; i < 10; i++) {
            assertThat(complete().statusCode()).isEqualTo(200);
        }
        assertThat(one.received).isNotEmpty();
    }

    /// Four streams are under way when their engine is to prefill: they go on, new requests see its new role.
    @Test
    void rolesAreFlippedWhileRequestsRun() throws Exception {
        StubEngine one = decoder();
        StubEngine two = decoder();
        start(OPEN, new StaticEngines(List.of(), List.of(one.address(), two.address())), 0);
        CountDownLatch flipped = new CountDownLatch(1);
        for (StubEngine engine : List.of(one, two)) {
            engine.script = call -> {
                try {
                    assertThat(flipped.await(20, TimeUnit.SECONDS)).isTrue();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                StubEngine.decode(call);
            };
        }
        List<CompletableFuture<HttpResponse<String>>> underWay = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            underWay.add(client.sendAsync(
                    request("/v1/completions")
                            .header("content-type", "application/json")
                            .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"Hi\",\"max_tokens\":3}"))
                            .build(),
                    HttpResponse.BodyHandlers.ofString()));
        }
        await().atMost(Duration.ofSeconds(10)).until(() -> one.received.size() + two.received.size() == 4);
        change("/instances/role", "{'address':'" + one.address() + "','role':'prefiller'}");
        flipped.countDown();
        for (CompletableFuture<HttpResponse<String>> answer : underWay) {
            assertThat(answer.get(20, TimeUnit.SECONDS).statusCode()).isEqualTo(200);
        }
        one.received.clear();
        one.script = StubEngine::prefill;
        assertThat(complete().statusCode()).isEqualTo(200);
        assertThat(one.received).hasSize(1).allMatch(request -> request.json().has("kv_transfer_params"));
        change("/instances/role", "{'address':'" + one.address() + "','role':'decoder'}");
        one.script = StubEngine::decode;
        change("/instances/weight", "{'address':'" + one.address() + "','weight':4}");
        assertThat(instances().stream().filter(node -> node.path("weight").asDouble(0) == 4))
                .hasSize(1)
                .allMatch(node -> node.path("role").asString("").equals("decoder"));
        for (int i = 0; i < 4; i++) {
            assertThat(complete().statusCode()).isEqualTo(200);
        }
    }

    @Test
    void registrationEndsWithItsTimeToLive() throws Exception {
        start(OPEN, NOBODY, 0);
        StubEngine decoder = decoder();
        HttpResponse<String> added =
                post("/instances/add", "{'address':'" + decoder.address() + "','role':'decoder','ttl_seconds':0.5}");
        assertThat(added.body()).contains("\"instance\":{\"address\":\"" + decoder.address());
        awaitInstances(0);
        assertThat(complete().statusCode()).isEqualTo(503);
    }

    /// The router is restarted while engines keep registering: it fills again by itself.
    @Test
    void enginesFindARestartedRouter() throws Exception {
        int port = FreePorts.next(); // that nobody takes while no router is there
        start(WITH_KEY, NOBODY, port);
        StubEngine decoder = decoder();
        Registrar.Config config = new Registrar.Config(
                EngineInfo.of(decoder.address(), EngineRole.DECODER), Duration.ofSeconds(1), "sesame");
        AtomicBoolean well = new AtomicBoolean(true);
        try (Registrar registrar = Registrar.start(List.of("http://127.0.0.1:" + port), config, well::get)) {
            await().atMost(Duration.ofSeconds(10)).until(() -> complete().statusCode() == 200);
            router.close();
            start(WITH_KEY, NOBODY, port);
            await().atMost(Duration.ofSeconds(20))
                    .ignoreExceptionsInstanceOf(IOException.class) // of a connection that the first one has closed
                    .until(() -> complete().statusCode() == 200);
            assertThat(registrar).isNotNull();
        }
        assertThat(complete().statusCode()).as("after it has deregistered").isEqualTo(503);
    }

    @Test
    void enginesRegisterOverTlsAtARouterThatTheyKnow(@TempDir Path folder) throws Exception {
        Certificates authority = new Certificates(folder, "ours");
        Path certificate = authority.make("router");
        HttpServerConfig server = HttpServerConfig.builder("127.0.0.1", 0)
                .tls(Optional.of(ServerTls.of(certificate, authority.key("router"))))
                .build();
        router = Router.start(RouterConfig.builder("127.0.0.1", 0, NOBODY)
                .server(server)
                .fleet(OPEN)
                .build());
        EngineInfo engine = EngineInfo.of(decoder().address(), EngineRole.DECODER);
        List<String> target = List.of("https://127.0.0.1:" + router.port());
        ClientTls known = new ClientTls(Optional.of(authority.authority()), Optional.empty(), Optional.empty());
        Registrar.Config strangers = new Registrar.Config(engine, Duration.ofSeconds(1), "");
        Registrar.Config friends = new Registrar.Config(engine, Duration.ofSeconds(1), "", known);
        try (Registrar _ = Registrar.start(target, strangers, () -> true)) {
            Fleet.pause(Duration.ofSeconds(1));
            assertThat(engines.getFirst().probes).hasValue(0);
        }
        try (Registrar _ = Registrar.start(target, friends, () -> true)) {
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> engines.getFirst().probes.get() > 0);
        }
    }

    /// vLLM's P2pNccl workers as they register, one of which falls silent, and requests all the while.
    @Test
    void engineThatFallsSilentIsGoneWithoutAnErrorToClients() throws Exception {
        ZmqRegistrations zmq =
                new ZmqRegistrations("127.0.0.1", 0, Duration.ofSeconds(3), AllowedEngines.privateNetworks());
        start(FleetConfig.defaults(), zmq, 0);
        StubEngine one = decoder();
        StubEngine two = decoder();
        AtomicBoolean oneTalks = new AtomicBoolean(true);
        AtomicBoolean done = new AtomicBoolean();
        Thread pinger = Thread.ofPlatform().start(() -> {
            try (ZmtpSender first = dealer(one.address(), zmq.port());
                    ZmtpSender second = dealer(two.address(), zmq.port())) {
                while (!done.get()) {
                    if (oneTalks.get()) {
                        first.send(ping(one.address()));
                    }
                    second.send(ping(two.address()));
                    Fleet.pause(Duration.ofMillis(100));
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        try {
            awaitInstances(2);
            assertThat(instances().getFirst().path("zmq_address").asString("")).startsWith("127.0.0.1:");
            for (int i = 0; i < 20; i++) {
                assertThat(complete().statusCode()).isEqualTo(200);
            }
            oneTalks.set(false);
            one.kill();
            while (addresses().size() == 2) {
                assertThat(complete().statusCode()).isEqualTo(200);
            }
            assertThat(addresses()).containsExactly(two.address().toString());
        } finally {
            done.set(true);
            pinger.join();
        }
        awaitInstances(0);
        assertThat(complete().statusCode()).isEqualTo(503);
    }

    private static ZmtpSender dealer(EngineAddress engine, int port) {
        return new ZmtpSender(
                Zmtp.SocketType.DEALER,
                engine.toString().getBytes(StandardCharsets.UTF_8),
                "127.0.0.1",
                port,
                Duration.ofSeconds(5));
    }

    private static byte[] ping(EngineAddress engine) {
        return MsgPack.write(Map.of("type", "D", "http_address", engine.toString(), "zmq_address", "127.0.0.1:14579"));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void portThatIsTakenLeavesNoSourceBehind(boolean first) throws Exception {
        ZmqRegistrations zmq =
                new ZmqRegistrations("127.0.0.1", 0, Duration.ofSeconds(1), AllowedEngines.privateNetworks());
        StubEngine holder = decoder();
        Map<Thread, StackTraceElement[]> before = Thread.getAllStackTraces();
        int taken = holder.address().port();
        try {
            start(FleetConfig.defaults(), first ? zmq : new CompositeSource(List.of(zmq)), taken);
        } catch (dev.baton.http.HttpException e) {
            await().atMost(Duration.ofSeconds(10))
                    .until(() -> Thread.getAllStackTraces().keySet().stream()
                            .filter(thread -> !before.containsKey(thread))
                            .noneMatch(thread -> thread.getName().startsWith("baton-")));
            return;
        }
        throw new AssertionError("it listens on a taken port");
    }
}
