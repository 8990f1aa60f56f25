package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.cli.TestJvm;
import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// A pair of processes with P2pNcclConnector behind the proxies made for it, one after the other: vLLM's own
/// and PPD's by their stand-ins, and vLLM's script itself, unmodified.
///
/// The script is `VLLM_P2P_PROXY` (disagg_proxy_p2p_nccl_xpyd.py of vLLM's examples), run by `P2P_PROXY_PYTHON`, a
/// Python with quart, aiohttp, pyzmq and msgpack. Its ports are fixed.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class P2pProxiesTest {
    private static final int HTTP_PORT = 10_001;
    private static final int ZMQ_PORT = 30_001;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    @TempDir
    static Path logs;

    private FileChannel ports;
    private Deployment deployment;
    private Instance prefiller;
    private Instance decoder;

    private static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket()) {
            socket.bind(new InetSocketAddress(InetAddress.ofLiteral("0.0.0.0"), port));
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    @BeforeAll
    void start() throws IOException {
        ports = TestJvm.lock(TestJvm.P2P_PORTS);
        Assumptions.assumeTrue(isFree(HTTP_PORT) && isFree(ZMQ_PORT), "the proxies' ports, 10001 and 30001, are taken");
        deployment = new Deployment(logs);
        prefiller = engine("prefiller", "kv_producer", "1e1");
        decoder = engine("decoder", "kv_consumer", "8e8");
        deployment.awaitReady();
    }

    private Instance engine(String name, String role, String bufferSize) {
        int port = FreePorts.next();
        String transfer = """
                {"kv_connector": "P2pNcclConnector", "kv_role": "%s", "kv_ip": "127.0.0.1", "kv_buffer_size": "%s",
                 "kv_load_failure_policy": "fail", "kv_connector_extra_config": {"proxy_ip": "127.0.0.1",
                 "proxy_port": "%d", "http_port": "%d", "kv_peer_timeout": 10,
                 "kv_connect_timeout": 10, "send_type": "PUT_ASYNC", "nccl_num_channels": "16"}}""".formatted(role, bufferSize, ZMQ_PORT, port);
        return deployment.engineOnPort(
                name, port, "--kv-transfer-config", transfer, "--no-enable-prefix-caching", "--block-size", "16");
    }

    @AfterAll
    void stop() throws IOException {
        try (FileChannel _ = ports) {
            if (deployment != null) {
                deployment.close();
            }
        }
    }

    private static Map<String, Object> body(int words) {
        String prompt = "User: " + "The fox went home over the hill and slept. ".repeat(words) + "Assistant:";
        return Map.of("prompt", prompt, "max_tokens", 12, "temperature", 0, "ignore_eos", true);
    }

    private String textOf(Instance instance, Map<String, Object> body) {
        Answer answer = deployment.post(instance, "/v1/completions", body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        return answer.choice().path("text").asString("");
    }

    private double hits() {
        return deployment.metric(decoder, "vllm:external_prefix_cache_hits_total");
    }

    /// Texts equal those of one instance, and come from the prefiller's blocks.
    private void handsOver(Instance proxy, int times) {
        // Both have to be known: a decoder that has registered by itself answers alone.
        double none = hits();
        await("registration at " + proxy.name())
                .atMost(PATIENCE)
                .pollInterval(Duration.ofMillis(500))
                .until(() -> {
                    try {
                        Answer answer = deployment.post(proxy, "/v1/completions", body(1));
                        return answer.status() == 200 && hits() > none;
                    } catch (UncheckedIOException e) {
                        return false;
                    }
                });
        double before = hits();
        int tokens = 0;
        for (int i = 1; i <= times; i++) {
            Map<String, Object> body = body(3 * i);
            Answer alone = deployment.post(prefiller, "/v1/completions", body);
            assertThat(textOf(proxy, body))
                    .as("prompt %d", i)
                    .isEqualTo(alone.choice().path("text").asString(""))
                    .isNotEmpty();
            tokens += alone.json().path("usage").path("prompt_tokens").asInt(0);
        }
        assertThat(tokens).isPositive();
        assertThat(hits() - before).isEqualTo(tokens);
        deployment.checkBlocks();
    }

    @Test
    void behindTheStandInOfVllmsProxy() {
        Instance router = deployment.compatRouter(HTTP_PORT, "disagg_proxy_p2p_nccl_xpyd");
        try {
            handsOver(router, 6);
        } finally {
            Deployment.kill(router);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"pd", "ppd"})
    void behindTheStandInOfPpdsProxy(String mode) {
        Instance router = deployment.compatRouter(HTTP_PORT, "disagg_proxy_ppd", "--mode", mode, "--host", "127.0.0.1");
        try {
            if (mode.equals("pd")) {
                handsOver(router, 4);
            } else {
                // The first turn is handed over, the next is the decoder's own: both are right.
                await().atMost(PATIENCE)
                        .pollInterval(Duration.ofMillis(500))
                        .ignoreExceptions()
                        .until(() -> deployment
                                        .post(router, "/v1/completions", body(1))
                                        .status()
                                == 200);
                for (int i = 0; i < 3; i++) {
                    Map<String, Object> body = body(2);
                    assertThat(textOf(router, body)).isEqualTo(textOf(prefiller, body));
                }
                deployment.checkBlocks();
            }
        } finally {
            Deployment.kill(router);
        }
    }

    @Test
    void behindVllmsOwnProxy() throws Exception {
        String script = System.getenv("VLLM_P2P_PROXY");
        String python = System.getenv("P2P_PROXY_PYTHON");
        Assumptions.assumeTrue(
                script != null && python != null,
                "VLLM_P2P_PROXY and P2P_PROXY_PYTHON do not name vLLM's proxy and a Python for it");
        Assumptions.assumeTrue(Files.isReadable(Path.of(script)), "there is no " + script);
        Path log = logs.resolve("vllm-proxy.log");
        Process process = new ProcessBuilder(List.of(python, script))
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        try {
            handsOver(new Instance("vLLM's proxy", HTTP_PORT, process, log, false), 6);
        } finally {
            process.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
        }
    }
}
