package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.awaitility.Awaitility.await;

import dev.baton.cli.TestJvm;
import dev.baton.cli.compat.CompatProxy;
import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.BackendKind;
import dev.baton.wire.FreePorts;
import java.io.Closeable;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;

/// Each proxy that is stood in for, with the flags of its launch scripts, over engines that are strict about its
/// protocol. Ports of this machine take the place of those in the scripts.
@Timeout(60)
class CompatTest {
    private static final String WHOLE = "{\"prompt\":\"one\",\"max_tokens\":3}";
    private static final String STREAM = "{\"prompt\":\"two\",\"max_tokens\":4,\"stream\":true}";
    private static final String CHAT =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"three\"}],\"max_tokens\":2,\"stream\":false}";

    private static RouterConfig config(String name, String flags) {
        CompatProxy proxy = CompatProxy.Name.of(name).orElseThrow().proxy();
        CommandLine command = new CommandLine(proxy)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setUnmatchedOptionsAllowedAsOptionParameters(false);
        command.parseArgs(flags.isEmpty() ? new String[0] : flags.split(" "));
        return proxy.router();
    }

    /// On a free port, and in the policies' order of the flags.
    private static Router start(RouterConfig config) {
        return Router.start(config.toBuilder()
                .server(HttpServerConfig.of("127.0.0.1", 0))
                .accessLog(false)
                .deadlines(Fleet.PATIENT)
                .build());
    }

    private static void assertServes(ProtocolEngines engines, Router router) throws Exception {
        try (HttpClient client = HttpClient.newHttpClient()) {
            assertThat(post(client, router, "/v1/completions", WHOLE).body()).contains("\\\"one\\\"*3");
            assertThat(post(client, router, "/v1/completions", STREAM).body())
                    .isEqualTo(StubEngine.stream(Json.parse(STREAM.getBytes(StandardCharsets.UTF_8))));
            assertThat(post(client, router, "/v1/chat/completions", CHAT).statusCode())
                    .isEqualTo(200);
        }
        assertThat(engines.violations()).isEmpty();
        assertThat(engines.prefiller.received).hasSize(3);
        assertThat(engines.decoder.received).hasSize(3);
    }

    private static HttpResponse<String> post(HttpClient client, Router router, String path, String body)
            throws IOException, InterruptedException {
        return client.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + router.port() + path))
                        .timeout(Duration.ofSeconds(20))
                        .header("content-type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    // P and D stand for the engines' ports, B for the bootstrap server's, N for a free one.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "NIXL | toy_proxy_server | --port 8192 --prefiller-port P --decoder-port D",
                "NIXL | toy_proxy_server.py | --host 0.0.0.0 --prefiller-hosts 127.0.0.1 --prefiller-ports P --decoder-hosts localhost --decoder-ports D",
                "NIXL | disagg_proxy_demo | --model m --prefill localhost:P --decode localhost:D --port 8000",
                "NIXL_PUSH | disagg_proxy_pushconnector_demo | -m m -p 127.0.0.1:P -d 127.0.0.1:D --prefill-engine-id engine-1 --prefill-kv-host 127.0.0.1",
                "MOONCAKE | mooncake_connector_proxy | --prefill http://127.0.0.1:P B --decode http://127.0.0.1:D --port 8000",
                "LMCACHE | disagg_proxy_server | --host localhost --port 9000 --prefiller-host localhost --prefiller-port P --num-prefillers 1 --decoder-host localhost --decoder-port D",
                "LMCACHE_PD | disagg_proxy_server | --port 9100 --prefiller-port P --decoder-port D --decoder-host 127.0.0.1 --decoder-init-port 7300,7301 --decoder-alloc-port 7400,7401 --proxy-host localhost --proxy-port N",
                "LMCACHE_PD | disagg_proxy_server | --prefiller-hosts localhost --prefiller-port P --decoder-hosts 127.0.0.1 --decoder-port D --nixl-init-channel-port 7300,7301 --nixl-alloc-channel-port 7400,7401 --nixl-proxy-host 127.0.0.1 --nixl-proxy-port N",
                "LMCACHE_MP | disagg_proxy_server | --port 8000 --prefiller-port P --decoder-port D --telemetry-port N",
                "P2P_NCCL | disagg_prefill_proxy_server | --port 8000 --prefill-url http://localhost:P --decode-url http://localhost:D --kv-host 127.0.0.1 --prefill-kv-port 21001 --decode-kv-port 22001 --timeout 60",
            })
    void launchScriptsKeepTheirFlags(BackendKind kind, String name, String script) throws Exception {
        try (ProtocolEngines engines = new ProtocolEngines(kind)) {
            engines.announcementPort = FreePorts.next();
            String flags = script.replaceAll(
                            "\\bP\\b", "" + engines.prefiller.address().port())
                    .replaceAll("\\bD\\b", "" + engines.decoder.address().port())
                    .replaceAll("\\bB\\b", "" + engines.bootstrapPort())
                    .replaceAll("\\bN\\b", "" + engines.announcementPort);
            try (Router router = start(config(name, flags))) {
                if (kind == BackendKind.MOONCAKE) {
                    awaitEngineIds(engines, router);
                }
                assertServes(engines, router);
            }
        }
    }

    @Test
    void statusRoutesAnswerInTheProxiesForms() throws Exception {
        try (ProtocolEngines engines = new ProtocolEngines(BackendKind.NIXL);
                Router router = start(config(
                        "toy_proxy_server",
                        "--prefiller-ports " + engines.prefiller.address().port() + " --decoder-ports "
                                + engines.decoder.address().port()));
                HttpClient client = HttpClient.newHttpClient()) {
            assertThat(get(client, router, "/healthcheck"))
                    .isEqualTo("{\"status\":\"ok\",\"prefill_instances\":1,\"decode_instances\":1}");
            assertThat(get(client, router, "/status"))
                    .contains("\"prefill_node_count\":1,\"prefill_nodes\":[\"localhost:"
                            + engines.prefiller.address().port() + "\"],\"decode_node_count\":1");
        }
    }

    private static String get(HttpClient client, Router router, String path) throws IOException, InterruptedException {
        URI uri = URI.create("http://127.0.0.1:" + router.port() + path);
        return client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString())
                .body();
    }

    private static void awaitEngineIds(ProtocolEngines engines, Router router) {
        StubEngine.Script script = engines.decoder.script;
        engines.decoder.script = engines::answerOnceThePrefillerIsAsked;
        try (HttpClient client = HttpClient.newHttpClient()) {
            await().atMost(Duration.ofSeconds(20)).until(() -> {
                post(client, router, "/v1/completions", WHOLE);
                return !engines.prefiller.received.isEmpty();
            });
        }
        engines.decoder.script = script;
        engines.decoder.received.clear();
        engines.prefiller.received.clear();
    }

    @ParameterizedTest
    @CsvSource({"P2P_NCCL,disagg_proxy_p2p_nccl_xpyd", "P2P_NCCL_PPD,disagg_proxy_ppd"})
    @Timeout(600) // another test process may have the ports for minutes
    void enginesRegisterAsWithTheProxies(BackendKind kind, String name) throws Exception {
        boolean ppd = kind == BackendKind.P2P_NCCL_PPD;
        int zmqPort = ppd ? FreePorts.next() : 30_001;
        try (Closeable _ = ppd ? () -> {} : TestJvm.lock(TestJvm.P2P_PORTS)) {
            enginesRegister(kind, name, ppd, zmqPort);
        }
    }

    private static void enginesRegister(BackendKind kind, String name, boolean ppd, int zmqPort) throws Exception {
        try (ServerSocket probe = new ServerSocket(zmqPort)) {
            assertThat(probe.isBound()).isTrue();
        } catch (IOException e) {
            Assumptions.abort("port " + zmqPort + " is in use on this machine");
        }
        String flags = ppd ? "--mode pd --http-port 10001 --zmq-port " + zmqPort + " --host 127.0.0.1" : "";
        try (ProtocolEngines engines = new ProtocolEngines(kind);
                Router router = start(config(name, flags));
                HttpClient client = HttpClient.newHttpClient()) {
            assertThat(post(client, router, "/v1/completions", WHOLE).statusCode())
                    .as("nobody has registered")
                    .isEqualTo(503);
            try (AutoCloseable pings =
                    ProtocolEngines.register(zmqPort, List.of(engines.prefillerInfo(), engines.decoderInfo()))) {
                assertThat(pings).isNotNull();
                await().atMost(Duration.ofSeconds(20))
                        .until(() ->
                                post(client, router, "/v1/completions", WHOLE).statusCode() == 200);
                engines.prefiller.received.clear();
                engines.decoder.received.clear();
                assertServes(engines, router);
            }
        }
    }

    @Test
    void laterTurnsGoToTheDecoderAloneInPpdMode() throws Exception {
        int zmqPort = FreePorts.next();
        try (ProtocolEngines engines = new ProtocolEngines(BackendKind.P2P_NCCL_PPD);
                Router router = start(config("disagg_proxy_ppd", "--zmq-port " + zmqPort + " --host 127.0.0.1"));
                HttpClient client = HttpClient.newHttpClient();
                AutoCloseable pings =
                        ProtocolEngines.register(zmqPort, List.of(engines.prefillerInfo(), engines.decoderInfo()))) {
            assertThat(pings).isNotNull();
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> get(client, router, "/status").contains("\"decode_node_count\":1")
                            && get(client, router, "/status").contains("\"prefill_node_count\":1"));
            assertThat(get(client, router, "/mode")).contains("\"mode\":\"pd\"");
            assertThat(post(client, router, "/mode/ppd", "").body()).contains("\"mode\":\"ppd\",\"previous\":\"pd\"");
            assertThat(chat(client, router, turns(1)).statusCode()).isEqualTo(200);
            assertThat(engines.prefiller.received).hasSize(1);
            assertThat(chat(client, router, turns(2)).statusCode()).isEqualTo(200);
            assertThat(engines.prefiller.received)
                    .as("the second turn has no prefill leg")
                    .hasSize(1);
            assertThat(List.copyOf(engines.decoder.received).getLast().requestId())
                    .matches("d_direct_[0-9a-f]{32}");
            assertThat(engines.violations()).isEmpty();
        }
    }

    private static HttpResponse<String> chat(HttpClient client, Router router, String messages)
            throws IOException, InterruptedException {
        return post(client, router, "/v1/chat/completions", "{\"max_tokens\":2,\"messages\":[" + messages + "]}");
    }

    private static String turns(int count) {
        String first = "{\"role\":\"user\",\"content\":\"" + "The first question is a long one. ".repeat(20) + "\"}";
        String more = ",{\"role\":\"assistant\",\"content\":\"An answer.\"},{\"role\":\"user\",\"content\":\"More?\"}";
        return first + more.repeat(count - 1);
    }

    // name | flags | address | what engines there are
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "toy_proxy_server || 127.0.0.1:8000 | prefiller localhost:8100 decoder localhost:8200",
                "toy_proxy_server | --prefiller-hosts a b --prefiller-ports 1 2 --decoder-hosts c --decoder-ports 3 | 127.0.0.1:8000 | prefiller a:1 prefiller b:2 decoder c:3",
                "disagg_proxy_demo | -m x -p a:1 b:2 -d c:3 d:4 | 127.0.0.1:8000 | prefiller a:1 prefiller b:2 decoder c:3 decoder d:4",
                "disagg_proxy_server || localhost:8000 | prefiller localhost:8100 decoder localhost:8200",
                "disagg_proxy_server | --num-prefillers 2 --prefiller-port 7100 --decoder-port 7200 --port 9000 | localhost:9000 | prefiller localhost:7100 prefiller localhost:7101 decoder localhost:7200",
                "disagg_proxy_server | --prefiller-host h --prefiller-port 1,2,3 --decoder-host x,y --decoder-port 5 | localhost:8000 | prefiller h:1 prefiller h:2 prefiller h:3 decoder x:5 decoder y:5",
                "disagg_proxy_server | --prefiller-host g,h --prefiller-port 1,2 --num-decoders 2 | localhost:8000 | prefiller g:1 prefiller h:2 decoder localhost:8200 decoder localhost:8201",
                "mooncake_connector_proxy | --prefill http://a:1 9000 --prefill http://b:2 none --prefill http://c:3 --decode http://d:4 --decode http://e:5/ | 127.0.0.1:8000 | prefiller a:1 9000 prefiller b:2 8998 prefiller c:3 8998 decoder d:4 decoder e:5",
                "disagg_prefill_proxy_server || 127.0.0.1:8000 | prefiller localhost:8100 localhost:14579 decoder localhost:8200 localhost:14580",
            })
    void defaultsAndPairingAreTheProxies(String name, String flags, String address, String engines) {
        RouterConfig config = config(name, flags == null ? "" : flags);
        assertThat(config.server().host() + ":" + config.server().port()).isEqualTo(address);
        assertThat(String.join(" ", described(config))).isEqualTo(engines);
    }

    private static List<String> described(RouterConfig config) {
        List<String> engines = new ArrayList<>();
        config.engines().start(new EngineListener() {
            @Override
            public void joined(EngineInfo engine) {
                String connector = switch (engine.endpoint()) {
                    case ConnectorEndpoint.Bootstrap(int port) -> " " + port;
                    case ConnectorEndpoint.P2pNccl(String zmq) -> " " + zmq;
                    default -> "";
                };
                engines.add(engine.role().word() + " " + engine.address() + connector);
            }

            @Override
            public void left(EngineAddress address, String why) {
                engines.add("left: " + address);
            }
        });
        config.engines().close();
        return engines;
    }

    /// LMCache's file has had three contents under one name.
    @Test
    void lmCachesGenerationIsSeenFromItsFlags() throws IOException {
        Backend store = config("disagg_proxy_server", "--port 9000").backend();
        assertThat(store).isEqualTo(BackendKind.LMCACHE.backend());
        RouterConfig pd = config(
                "disagg_proxy_server", "--num-decoders 2 --decoder-init-port 8300 --proxy-port " + FreePorts.next());
        assertThat(pd.backend()).isEqualTo(BackendKind.LMCACHE_PD.backend());
        pd.announcements().close();
        RouterConfig mp = config("disagg_proxy_server", "--telemetry-port " + FreePorts.next());
        assertThat(mp.backend()).isEqualTo(BackendKind.LMCACHE_MP.backend());
        mp.announcements().close();
        assertThatExceptionOfType(IllegalArgumentException.class)
                .isThrownBy(() -> config("disagg_proxy_server", "--telemetry-port 1 --proxy-port 2"))
                .withMessageContaining("another disagg_proxy_server.py");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "toy_proxy_server | --prefiller-hosts a b --prefiller-ports 1 | there are 2 prefiller hosts and 1 prefiller ports",
                "disagg_proxy_server | --decoder-host a,b --decoder-port 1,2,3 | there are 2 decoder hosts and 3 decoder ports",
                "disagg_proxy_demo | -m x -p a -d b:1 | 'a' is not an engine address",
                "mooncake_connector_proxy | --prefill http://a:1 99999 --decode http://b:1 | port 99999 of the bootstrap server",
                "disagg_prefill_proxy_server | --timeout 0 | --timeout must be 1 to",
            })
    void flagsThatDoNotGoTogetherAreOneSentence(String name, String flags, String sentence) {
        assertThatExceptionOfType(RuntimeException.class)
                .isThrownBy(() -> config(name, flags))
                .withMessageContaining(sentence);
    }
}
