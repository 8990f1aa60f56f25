package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// `baton serve` as a process of its own: what it says when it cannot start, and how it ends.
@Timeout(120)
class ServeProcessTest {
    private static final Path MODEL = Baton.repository().resolve("models/baton-tiny");

    @TempDir
    Path folder;

    @BeforeEach
    void theModelIsThere() {
        Assumptions.assumeTrue(Files.exists(MODEL.resolve("model.safetensors")), "the embedded model is not there");
    }

    @Test
    void takenKvPortIsExplainedInOneSentence() throws Exception {
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String config =
                    "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"kv_both\",\"kv_ip\":\"127.0.0.1\",\"kv_port\":"
                            + taken.getLocalPort() + "}";
            assertExplained(MODEL, List.of("--kv-transfer-config", config), Integer.toString(taken.getLocalPort()));
        }
    }

    @Test
    void instanceFromAFileAndVariablesSaysWhatRunsAndWantsItsKey() throws Exception {
        Path config = Files.writeString(folder.resolve("serve.yaml"), """
                model: %s
                host: 127.0.0.1
                port: 0
                served-model-name: [tiny, small]
                num-gpu-blocks-override: 256
                max-num-seqs: 4
                api-key: sk-secret
                response-role: narrator
                trust-remote-code: true
                """.formatted(MODEL));
        try (Baton serve = Baton.start(
                folder,
                Map.of("BATON_MAX_NUM_BATCHED_TOKENS", "1k", "VLLM_SERVER_DEV_MODE", "1"),
                "serve",
                "--config",
                config.toString(),
                "--enable-request-id-headers",
                "--chat-template",
                "{{ messages[0].content }} and")) {
            await().atMost(Duration.ofSeconds(60)).until(() -> serve.output().contains("Connector: "));
            assertThat(serve.output())
                    .contains(config + ", line 9: --trust-remote-code has no effect: ")
                    .contains("Serving tiny, small on http://127.0.0.1:", ", with an API key")
                    .contains("Model: tiny, LlamaForCausalLM, context 2,048 tokens")
                    .contains("GPU KV cache size: 4,096 tokens (0.02 GiB float32, 256 blocks of 16, prefix caching on)")
                    .contains("Maximum concurrency for 2,048 tokens per request: 2.00x")
                    .contains("(at most 4 sequences, 1,000 tokens a step)")
                    .contains("Computes: cpu, ")
                    .contains("Connector: none")
                    .doesNotContain("sk-secret");
            Matcher address = Pattern.compile("http://127.0.0.1:(\\d+)").matcher(serve.output());
            assertThat(address.find()).isTrue();
            try (HttpClient client = HttpClient.newHttpClient()) {
                HttpRequest.Builder chat = HttpRequest.newBuilder(URI.create(address.group() + "/v1/chat/completions"))
                        .header("content-type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(
                                "{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Once\"}],"
                                        + "\"max_tokens\":2}"));
                HttpResponse<String> refused = client.send(chat.build(), HttpResponse.BodyHandlers.ofString());
                assertThat(refused.statusCode()).isEqualTo(401);
                HttpResponse<String> answer = client.send(
                        chat.header("authorization", "Bearer sk-secret")
                                .header("x-request-id", "mine")
                                .build(),
                        HttpResponse.BodyHandlers.ofString());
                assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
                assertThat(answer.body()).contains("\"role\":\"narrator\"", "\"model\":\"tiny\"", "chatcmpl-mine");
                assertThat(answer.headers().firstValue("x-request-id")).hasValue("mine");
                HttpRequest reset = HttpRequest.newBuilder(URI.create(address.group() + "/reset_prefix_cache"))
                        .POST(HttpRequest.BodyPublishers.noBody())
                        .build();
                assertThat(client.send(reset, HttpResponse.BodyHandlers.discarding())
                                .statusCode())
                        .isEqualTo(200);
            }
            serve.signal("TERM");
            assertThat(serve.awaitExit()).isZero();
        }
    }

    @Test
    void truncatedWeightsAreExplainedInOneSentence() throws Exception {
        Path model = copyOfModel();
        byte[] weights = Files.readAllBytes(MODEL.resolve("model.safetensors"));
        Files.write(model.resolve("model.safetensors"), java.util.Arrays.copyOf(weights, weights.length / 2));
        assertExplained(model, List.of(), "model.safetensors");
    }

    private void assertExplained(Path model, List<String> flags, String sentence) throws Exception {
        List<String> arguments = new ArrayList<>(List.of("serve", model.toString(), "--port", "0"));
        arguments.addAll(flags);
        try (Baton serve = Baton.start(folder, arguments.toArray(String[]::new))) {
            assertThat(serve.awaitExit()).as(serve.output()).isEqualTo(1);
            assertThat(serve.output())
                    .doesNotContain("unexpected failure")
                    .doesNotContain("\tat ")
                    .containsPattern("(?m)^baton: .*" + Pattern.quote(sentence));
        }
    }

    @Test
    void signalWhileLoadingEndsTheProcessAtOnce() throws Exception {
        Path model = copyOfModel();
        Path tokenizer = model.resolve("tokenizer.json");
        Files.delete(tokenizer);
        assertThat(new ProcessBuilder("mkfifo", tokenizer.toString()).start().waitFor())
                .as("a file that nobody writes is read for ever")
                .isZero();
        try (Baton serve = Baton.start(folder, "serve", model.toString(), "--port", "0")) {
            await().pollInterval(Duration.ofMillis(10))
                    .atMost(Duration.ofSeconds(60))
                    .until(() -> serve.output().contains("Loading "));
            serve.signal("TERM");
            assertThat(serve.awaitExit()).isZero();
            assertThat(serve.output())
                    .contains("Stopping (SIGTERM) while loading")
                    .doesNotContain("Serving ");
        }
    }

    /// A prompt that takes minutes in one step stands for a step that never ends.
    @Test
    void instanceWhoseEngineHangsEndsItself() throws Exception {
        Path model = copyOfModel();
        String config = Files.readString(MODEL.resolve("config.json"));
        Files.writeString(
                model.resolve("config.json"),
                config.replace("\"max_position_embeddings\": 2048", "\"max_position_embeddings\": 65536"));
        try (Baton serve = Baton.start(
                folder,
                ("serve " + model + " --host 127.0.0.1 --port 0 --ops scalar --threads 1 --step-deadline 1"
                                + " --max-num-seqs 1 --max-num-batched-tokens 65536 --kv-cache-memory-bytes 512MiB")
                        .split(" "))) {
            await().atMost(Duration.ofSeconds(60)).until(() -> serve.output().contains("Serving "));
            Matcher port = Pattern.compile("http://127.0.0.1:(\\d+)").matcher(serve.output());
            assertThat(port.find()).isTrue();
            try (HttpClient client = HttpClient.newHttpClient()) {
                String body = "{\"prompt\":[" + "400,".repeat(12_000) + "400],\"max_tokens\":1}";
                CompletableFuture<HttpResponse<String>> answer = client.sendAsync(
                        HttpRequest.newBuilder(URI.create(port.group() + "/v1/completions"))
                                .header("content-type", "application/json")
                                .POST(HttpRequest.BodyPublishers.ofString(body))
                                .build(),
                        HttpResponse.BodyHandlers.ofString());
                long start = System.nanoTime();
                assertThat(serve.awaitExit()).as(serve.output()).isEqualTo(1);
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(40));
                assertThat(serve.output())
                        .contains("The engine makes no progress")
                        .doesNotContain("a step failed");
                assertThat(answer).failsWithin(Duration.ofSeconds(10));
            }
        }
    }

    private Path copyOfModel() throws IOException {
        Path copy = Files.createDirectory(folder.resolve("model"));
        try (java.util.stream.Stream<Path> files = Files.list(MODEL)) {
            for (Path file : files.toList()) {
                Files.copy(file, copy.resolve(file.getFileName()));
            }
        }
        return copy;
    }
}
