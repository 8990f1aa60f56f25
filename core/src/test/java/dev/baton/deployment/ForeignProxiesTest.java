package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import dev.baton.wire.FreePorts;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Other projects' proxies, unmodified, in front of a Baton that prefills and one that decodes: texts are those
/// of one instance, and the decoder took the prompts' blocks from elsewhere.
///
/// Each has a variable with its path. `PROXY_PYTHON` is a Python for those that are scripts (FastAPI, httpx, pyzmq,
/// msgspec, uvicorn; LMCache's own also LMCache and transformers); `VLLM_ROUTER` and `LLMD_SIDECAR` are programs;
/// `RAY_PYTHON` is a Python that has `ray[serve]` 2.60 and vLLM.
class ForeignProxiesTest {
    private static final Duration PATIENCE = Duration.ofMinutes(10);
    private static final int CHUNK_TOKENS = 64;
    private static final String NIXL = """
            {"kv_connector": "NixlConnector", "kv_role": "%s", "kv_ip": "127.0.0.1", "kv_port": %d,
             "kv_load_failure_policy": "fail"}""";
    private static final String MOONCAKE = """
            {"kv_connector": "MooncakeConnector", "kv_role": "%s", "kv_ip": "127.0.0.1",
             "kv_load_failure_policy": "fail", "kv_connector_extra_config": {"bootstrap_port": %d}}""";
    private static final String P2P = """
            {"kv_connector": "P2pNcclConnector", "kv_role": "%s", "kv_ip": "127.0.0.1", "kv_port": %d,
             "kv_load_failure_policy": "fail", "kv_connector_extra_config":
             {"proxy_ip": "127.0.0.1", "proxy_port": "%d", "http_port": "%d", "send_type": "PUT_ASYNC"}}""";

    private static final Form COMPLETION = new Form(false, false);

    @TempDir
    Path logs;

    private Deployment deployment;

    @BeforeEach
    void deploy() {
        deployment = new Deployment(logs);
    }

    @AfterEach
    void stop() {
        deployment.close();
    }

    private static String program(String variable) {
        String path = System.getenv(variable);
        Assumptions.assumeTrue(path != null, variable + " does not name the proxy");
        Assumptions.assumeTrue(Files.isReadable(Path.of(path)), "there is no " + path);
        return path;
    }

    private static String script(String variable) {
        String script = program(variable);
        Assumptions.assumeTrue(
                System.getenv("PROXY_PYTHON") != null, "PROXY_PYTHON does not name a Python for " + script);
        return script;
    }

    private Instance proxy(String script, int port, List<String> flags) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                System.getenv("PROXY_PYTHON"), script, "--host", "127.0.0.1", "--port", Integer.toString(port)));
        command.addAll(flags);
        return start(command, port);
    }

    private Instance start(List<String> command, int port) throws Exception {
        File log = logs.resolve("proxy.log").toFile();
        Process process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log)
                .start();
        return new Instance(command.getFirst(), port, process, log.toPath(), false);
    }

    /// What a prompt is asked as.
    private record Form(boolean chat, boolean streamed) {
        String path() {
            return chat ? "/v1/chat/completions" : "/v1/completions";
        }

        Form whole() {
            return new Form(chat, false);
        }

        Map<String, Object> body(int sentences) {
            String text = "The fox went home over the hill and slept. ".repeat(sentences);
            Map<String, Object> body = new HashMap<>(
                    Map.of("model", "baton-tiny", "max_tokens", 12, "temperature", 0, "ignore_eos", true));
            if (chat) {
                body.put("messages", List.of(Map.of("role", "user", "content", text)));
            } else {
                body.put("prompt", "User: " + text + "Assistant:");
            }
            if (streamed) {
                body.put("stream", true);
            }
            return body;
        }

        /// LMCache's streams whether it is asked to or not.
        String text(Answer answer) {
            assertThat(answer.status()).as(answer.body()).isEqualTo(200);
            boolean events = answer.body().startsWith("data:");
            assertThat(events || !streamed).as(answer.body()).isTrue();
            return events
                    ? answer.body()
                            .lines()
                            .filter(line -> line.startsWith("data: {"))
                            .map(line -> Deployment.JSON
                                    .readTree(line.substring("data: ".length()))
                                    .at(chat ? "/choices/0/delta/content" : "/choices/0/text")
                                    .asString(""))
                            .collect(Collectors.joining())
                    : answer.choice().at(chat ? "/message/content" : "/text").asString("");
        }
    }

    private double hits(Instance decoder) {
        return deployment.metric(decoder, "vllm:external_prefix_cache_hits_total");
    }

    private void handsOver(Instance proxy, Instance alone, Instance decoder, int pieceTokens, String... headers)
            throws Exception {
        handsOver(proxy, alone, decoder, pieceTokens, List.of(COMPLETION), headers);
    }

    /// @param pieceTokens of how many tokens each prompt's hits are a multiple, at least
    /// @param headers that the proxy is told, name and value
    private void handsOver(
            Instance proxy, Instance alone, Instance decoder, int pieceTokens, List<Form> forms, String... headers)
            throws Exception {
        try {
            Awaitility.await("the proxy listens")
                    .atMost(PATIENCE)
                    .pollInterval(Duration.ofMillis(500))
                    .ignoreExceptions()
                    .failFast("the proxy ended", () -> !proxy.process().isAlive())
                    .until(() -> deployment
                                    .post(proxy, COMPLETION.path(), COMPLETION.body(9), headers)
                                    .status()
                            == 200);
            for (Form form : forms) {
                for (int i = 10; i <= 15; i++) {
                    Form whole = form.whole();
                    Answer reference = deployment.post(alone, whole.path(), whole.body(i));
                    int tokens =
                            reference.json().path("usage").path("prompt_tokens").asInt(0);
                    double before = hits(decoder);
                    assertThat(form.text(deployment.post(proxy, form.path(), form.body(i), headers)))
                            .as("prompt of %d tokens, %s", tokens, form)
                            .isEqualTo(whole.text(reference))
                            .isNotEmpty();
                    assertThat(hits(decoder) - before)
                            .as("hits of %d tokens, %s", tokens, form)
                            .isGreaterThanOrEqualTo((tokens - 1) / pieceTokens * pieceTokens)
                            .isPositive();
                }
            }
            deployment.checkBlocks();
        } finally {
            end(proxy.process());
        }
    }

    /// Asks first, for what a proxy leaves on disk; what it has started ends with it.
    private static void end(Process proxy) throws InterruptedException {
        List<ProcessHandle> all =
                Stream.concat(proxy.descendants(), Stream.of(proxy.toHandle())).toList();
        proxy.destroy();
        proxy.waitFor(30, TimeUnit.SECONDS);
        all.forEach(ProcessHandle::destroyForcibly);
        all.forEach(process -> process.onExit().join());
    }

    private Instance engine(String name, String transfer, Object... values) {
        return deployment.single(
                name,
                "--served-model-name",
                "baton-tiny",
                "--no-enable-prefix-caching",
                "--block-size",
                "16",
                "--kv-transfer-config",
                transfer.formatted(values));
    }

    private Instance alone() {
        return deployment.single("alone", "--served-model-name", "baton-tiny");
    }

    /// A prefiller, a decoder, and an instance to compare with.
    private record Engines(Instance prefiller, Instance decoder, Instance alone) {}

    private Engines overNixl() {
        Engines engines = new Engines(
                engine("prefiller", NIXL, "kv_producer", FreePorts.next()),
                engine("decoder", NIXL, "kv_consumer", FreePorts.next()),
                alone());
        deployment.awaitReady();
        return engines;
    }

    @Test
    void vllmsProxyForNixl() throws Exception {
        String script = script("VLLM_TOY_PROXY");
        Engines engines = overNixl();
        List<String> flags = List.of(
                "--prefiller-hosts",
                "127.0.0.1",
                "--prefiller-ports",
                Integer.toString(engines.prefiller().port()),
                "--decoder-hosts",
                "127.0.0.1",
                "--decoder-ports",
                Integer.toString(engines.decoder().port()));
        handsOver(proxy(script, FreePorts.next(), flags), engines.alone(), engines.decoder(), 1);
    }

    private static List<String> pair(Instance prefiller, Instance decoder) {
        return List.of(
                "--prefiller-host",
                "127.0.0.1",
                "--prefiller-port",
                Integer.toString(prefiller.port()),
                "--decoder-host",
                "127.0.0.1",
                "--decoder-port",
                Integer.toString(decoder.port()));
    }

    /// It knows nothing of hand-offs: engines share a store, here a folder.
    @Test
    void vllmsProxyForLmcache() throws Exception {
        String script = script("VLLM_LMCACHE_PROXY");
        String transfer = """
                {"kv_connector": "LMCacheConnectorV1", "kv_role": "%s", "kv_connector_extra_config":
                 {"lmcache.remote_url": "fs://%s", "lmcache.chunk_size": %d, "lmcache.local_cpu": false}}""";
        Path store = Files.createDirectory(logs.resolve("store"));
        Instance prefiller = engine("prefiller", transfer, "kv_producer", store, CHUNK_TOKENS);
        Instance decoder = engine("decoder", transfer, "kv_consumer", store, CHUNK_TOKENS);
        Instance alone = alone();
        deployment.awaitReady();
        handsOver(proxy(script, FreePorts.next(), pair(prefiller, decoder)), alone, decoder, CHUNK_TOKENS);
    }

    @Test
    void lmcachesOwnProxy() throws Exception {
        String script = script("LMCACHE_PROXY");
        Assumptions.assumeTrue(System.getenv("NIXL_HOME") != null, "NIXL_HOME does not name the NIXL library");
        String transfer = """
                {"kv_connector": "LMCacheConnectorV1", "kv_role": "%s", "kv_connector_extra_config":
                 {"lmcache.enable_pd": true, "lmcache.transfer_channel": "nixl", "lmcache.pd_buffer_device": "cpu",
                  "lmcache.pd_buffer_size": 67108864, "lmcache.local_cpu": false, "lmcache.chunk_size": %d, %s}}""";
        int init = FreePorts.next();
        int alloc = FreePorts.next();
        int notifications = FreePorts.next();
        Instance prefiller = engine("sender", transfer, "kv_producer", CHUNK_TOKENS, """
                "lmcache.pd_role": "sender", "lmcache.pd_proxy_host": "127.0.0.1", "lmcache.pd_proxy_port": %d""".formatted(notifications));
        Instance decoder = engine("receiver", transfer, "kv_consumer", CHUNK_TOKENS, """
                "lmcache.pd_role": "receiver", "lmcache.pd_peer_host": "127.0.0.1", "lmcache.pd_peer_init_port": %d,
                "lmcache.pd_peer_alloc_port": %d""".formatted(init, alloc));
        Instance alone = alone();
        deployment.awaitReady();
        List<String> flags = new ArrayList<>(pair(prefiller, decoder));
        flags.addAll(List.of(
                "--decoder-init-port",
                Integer.toString(init),
                "--decoder-alloc-port",
                Integer.toString(alloc),
                "--proxy-host",
                "127.0.0.1",
                "--proxy-port",
                Integer.toString(notifications),
                "--model",
                Deployment.MODEL.toString(),
                "--pd-buffer-size",
                "67108864",
                "--chunk-size",
                Integer.toString(CHUNK_TOKENS)));
        handsOver(proxy(script, FreePorts.next(), flags), alone, decoder, CHUNK_TOKENS);
    }

    private Instance vllmsRouter(List<String> flags) throws Exception {
        int port = FreePorts.next();
        List<String> command = new ArrayList<>(List.of(
                program("VLLM_ROUTER"),
                "--vllm-pd-disaggregation",
                "--host",
                "127.0.0.1",
                "--port",
                Integer.toString(port),
                "--prometheus-port",
                Integer.toString(FreePorts.next())));
        command.addAll(flags);
        return start(command, port);
    }

    @Test
    void vllmsRouterForNixl() throws Exception {
        program("VLLM_ROUTER");
        Engines engines = overNixl();
        List<String> flags = List.of(
                "--prefill",
                engines.prefiller().url(""),
                "--decode",
                engines.decoder().url(""),
                "--kv-connector",
                "nixl");
        handsOver(vllmsRouter(flags), engines.alone(), engines.decoder(), 1);
    }

    @Test
    void vllmsRouterForMooncake() throws Exception {
        program("VLLM_ROUTER");
        int bootstrap = FreePorts.next();
        Instance prefiller = engine("prefiller", MOONCAKE, "kv_producer", bootstrap);
        Instance decoder = engine("decoder", MOONCAKE, "kv_consumer", bootstrap);
        Instance alone = alone();
        deployment.awaitReady();
        List<String> flags = List.of(
                "--prefill",
                prefiller.url(""),
                Integer.toString(bootstrap),
                "--decode",
                decoder.url(""),
                "--kv-connector",
                "mooncake");
        handsOver(vllmsRouter(flags), alone, decoder, 1);
    }

    /// Engines register themselves at it.
    @Test
    void vllmsRouterForP2pNccl() throws Exception {
        program("VLLM_ROUTER");
        int discovery = FreePorts.next();
        List<Instance> engines = new ArrayList<>();
        for (String role : List.of("kv_producer", "kv_consumer")) {
            int port = FreePorts.next();
            engines.add(deployment.engineOnPort(
                    role,
                    port,
                    "--served-model-name",
                    "baton-tiny",
                    "--no-enable-prefix-caching",
                    "--kv-transfer-config",
                    P2P.formatted(role, FreePorts.next(), discovery, port)));
        }
        Instance alone = alone();
        deployment.awaitReady();
        List<String> flags = List.of("--vllm-discovery-address", "127.0.0.1:" + discovery);
        handsOver(vllmsRouter(flags), alone, engines.getLast(), 1);
    }

    /// It stands before the decoder, and the request names its prefiller.
    @Test
    void llmdsSidecar() throws Exception {
        String sidecar = program("LLMD_SIDECAR");
        Engines engines = overNixl();
        int port = FreePorts.next();
        List<String> command = List.of(
                sidecar,
                "-port",
                Integer.toString(port),
                "-vllm-port",
                Integer.toString(engines.decoder().port()),
                "-connector",
                "nixlv2",
                "-secure-proxy=false");
        handsOver(
                start(command, port),
                engines.alone(),
                engines.decoder(),
                1,
                "x-prefiller-host-port",
                "127.0.0.1:" + engines.prefiller().port());
    }

    /// Ray would start the engines of its servers itself: `ray_engine.py` stands for them and passes every
    /// request on.
    @Test
    void raysPdServer() throws Exception {
        String python = program("RAY_PYTHON");
        Engines engines = overNixl();
        int port = FreePorts.next();
        List<String> command = List.of(
                python,
                Deployment.repository()
                        .resolve("scripts/interoplib/shims/ray_pd.py")
                        .toString(),
                "--port",
                Integer.toString(port),
                "--prefill",
                engines.prefiller().url(""),
                "--decode",
                engines.decoder().url(""),
                "--model-id",
                "baton-tiny");
        List<Form> forms = List.of(COMPLETION, new Form(false, true), new Form(true, false), new Form(true, true));
        handsOver(start(command, port), engines.alone(), engines.decoder(), 1, forms);
    }
}
