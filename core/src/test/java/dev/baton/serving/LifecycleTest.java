package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.http.HttpServerConfig;
import dev.baton.serving.Instance.Answer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

@Timeout(60)
class LifecycleTest {
    private static final String PATH = "/v1/completions";

    @TempDir
    Path directory;

    private static String body(int maxTokens, boolean stream) {
        return "{\"prompt\":\"go on\\n\",\"max_tokens\":" + maxTokens + ",\"stream\":" + stream + "}";
    }

    private static Socket post(Instance instance, String body) throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), instance.server.port());
        socket.setSoTimeout(20_000);
        socket.getOutputStream()
                .write(("POST " + PATH + " HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
                                + body.length() + "\r\n\r\n" + body)
                        .getBytes(StandardCharsets.UTF_8));
        return socket;
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void disconnectAbortsTheRequestAtOnce(boolean stream) throws Exception {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 20;
            try (Socket socket = post(instance, body(900, stream))) {
                await().until(() -> instance.engine.stats().numRunning() == 1);
                if (stream) {
                    assertThat(socket.getInputStream().read()).isPositive();
                }
            }
            instance.awaitIdle(Duration.ofSeconds(10));
            assertThat(instance.engine.stats().generationTokens()).isLessThan(200);
        }
    }

    @Test
    void disconnectWhileQueuedAbortsTheRequest() throws Exception {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 20;
            List<Socket> sockets = new ArrayList<>();
            for (int i = 0; i < 20; i++) { // 8 sequences run at a time
                sockets.add(post(instance, body(900, true)));
            }
            await().until(() -> instance.engine.stats().numRunning() == 8
                    && instance.engine.stats().numWaiting() == 12);
            for (Socket socket : sockets) {
                socket.close();
            }
            instance.awaitIdle(Duration.ofSeconds(10));
        }
    }

    @Test
    void slowReaderIsCutOffAndOthersAreServed() throws Exception {
        try (Instance instance = Instance.start(
                directory,
                config -> config.http(HttpServerConfig.builder("127.0.0.1", 0)
                        .maxStreamBufferBytes(32 << 10)
                        .writeDeadline(Duration.ofMillis(500))
                        .build()))) {
            try (Socket socket = new Socket()) {
                socket.setReceiveBufferSize(1024);
                socket.connect(new InetSocketAddress("127.0.0.1", instance.server.port()));
                instance.model.stepMillis = 1;
                // 50 choices of 900 tokens are some 9 MB of events
                String body = "{\"prompt\":\"go on\\n\",\"max_tokens\":900,\"stream\":true,\"n\":50}";
                socket.getOutputStream()
                        .write(("POST " + PATH
                                        + " HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
                                        + body.length() + "\r\n\r\n" + body)
                                .getBytes(StandardCharsets.UTF_8));
                await().until(() -> instance.engine.stats().generationTokens() > 0);
                Answer other = instance.post(PATH, body(3, false));
                assertThat(other.status()).isEqualTo(200);
                instance.awaitIdle(Duration.ofSeconds(20));
                assertThat(instance.engine.stats().generationTokens()).isLessThan(50 * 900);
            }
        }
    }

    @Test
    void fullQueueIsAnswered503WithRetryAfter() throws Exception {
        try (Instance instance = Instance.startWithQueue(directory, 2)) {
            instance.model.stepMillis = 20;
            List<Socket> sockets = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                int running = i + 1;
                sockets.add(post(instance, body(900, true)));
                await().until(() -> instance.engine.stats().numRunning() == running);
            }
            sockets.add(post(instance, body(900, true)));
            sockets.add(post(instance, body(900, true)));
            await().until(() -> instance.engine.stats().numWaiting() == 2);
            Answer refused = instance.post(PATH, body(1, false));
            assertThat(refused.status()).as(refused.body()).isEqualTo(503);
            assertThat(refused.header("retry-after")).isEqualTo("1");
            assertThat(refused.body()).contains("(--max-waiting)");
            for (Socket socket : sockets) {
                socket.close();
            }
        }
    }

    @Test
    void moreInFlightThanAllowedIsAnswered503() throws Exception {
        try (Instance instance = Instance.start(directory, config -> config.maxInFlight(2))) {
            instance.model.stepMillis = 20;
            try (Socket first = post(instance, body(900, true));
                    Socket second = post(instance, body(900, true))) {
                await().until(() -> instance.engine.stats().numRunning() == 2);
                assertThat(first.isConnected() && second.isConnected()).isTrue();
                Answer refused = instance.post(PATH, body(1, false));
                assertThat(refused.status()).isEqualTo(503);
                assertThat(instance.get("/metrics").body())
                        .containsPattern("vllm:admission_rejections_total\\{.*reason=\"max_num_queued_reqs\"} 1")
                        .doesNotContain("max_in_flight");
                assertThat(instance.post(PATH, "{\"prompt\":\"a\",\"n\":3}").status())
                        .isEqualTo(400);
                assertThat(instance.get("/metrics").body()) // what can never fit is no matter of load
                        .containsPattern(
                                "vllm:admission_rejections_total\\{.*reason=\"max_num_queued_reqs\"} 1(\\.0)?\n");
            }
        }
    }

    @Test
    void requestWithoutAProperEndCountsByItsReasonAndInNoLatency() throws Exception {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 20;
            try (Socket client = post(instance, body(900, true))) {
                await().until(() -> instance.engine.stats().numRunning() == 1);
                assertThat(client.isConnected()).isTrue();
            }
            await().untilAsserted(() -> assertThat(instance.get("/metrics").body())
                    .containsPattern("vllm:request_success_total\\{.*finished_reason=\"abort\".*} 1(\\.0)?\n"));
            instance.expectDeath();
            instance.model.broken = true;
            assertThat(instance.post(PATH, body(1, false)).status()).isEqualTo(500);
            assertThat(instance.get("/metrics").body())
                    .containsPattern("vllm:request_success_total\\{.*finished_reason=\"error\".*} 1(\\.0)?\n")
                    .containsPattern("vllm:e2e_request_latency_seconds_count\\{.*} 0(\\.0)?\n");
        }
    }

    @Test
    void engineThatDiesInAStreamLeadsToAnErrorEventNotToAnEnd() throws Exception {
        try (Instance instance = Instance.start(directory)) {
            instance.expectDeath();
            instance.model.stepMillis = 20;
            HttpResponse<InputStream> response = instance.client.send(
                    instance.request(PATH, body(900, true)).build(), HttpResponse.BodyHandlers.ofInputStream());
            assertThat(response.statusCode()).isEqualTo(200);
            CompletableFuture<Answer> waiting =
                    CompletableFuture.supplyAsync(() -> instance.post(PATH, body(900, false)));
            await().until(() -> instance.engine.stats().numRunning() == 2);
            instance.model.broken = true;
            String text = new String(response.body().readAllBytes(), StandardCharsets.UTF_8);
            List<String> events = text.lines().filter(line -> !line.isEmpty()).toList();
            assertThat(events).doesNotContain("data: [DONE]");
            JsonNode error =
                    Instance.JSON.readTree(events.getLast().substring(6)).path("error");
            assertThat(error.path("code").intValue()).isEqualTo(500);
            assertThat(error.path("message").stringValue()).isNotBlank();
            assertThat(text).doesNotContain("finish_reason\":\"length", "finish_reason\":\"stop");
            assertThat(waiting.join().status()).isEqualTo(500);
            await().until(() -> instance.get("/health").status() == 503);
            assertThat(instance.post(PATH, body(1, false)).status()).isEqualTo(503);
            assertThat(instance.get("/debug/integrity").status()).isEqualTo(500);
        }
    }

    @Test
    void abortRequestsEndsARunningRequestByItsId() throws Exception {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 20;
            CompletableFuture<Answer> running = CompletableFuture.supplyAsync(
                    () -> instance.send(instance.request(PATH, body(900, false)).header("x-request-id", "r-1")));
            await().until(() -> instance.engine.stats().numRunning() == 1);
            assertThat(instance.post("/abort_requests", "{\"request_ids\":[\"other\"]}")
                            .status())
                    .isEqualTo(200);
            assertThat(running.isDone()).isFalse();
            assertThat(instance.post("/abort_requests", "{\"request_ids\":[\"r-1\"]}")
                            .status())
                    .isEqualTo(200);
            assertThat(running.join().status()).isEqualTo(500);
            instance.awaitIdle(Duration.ofSeconds(10));
        }
    }

    @Test
    void sameRequestIdTwiceIsServedTwice() {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 5;
            List<CompletableFuture<Answer>> answers = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                answers.add(CompletableFuture.supplyAsync(() ->
                        instance.send(instance.request(PATH, body(6, false)).header("x-request-id", "same"))));
            }
            for (CompletableFuture<Answer> answer : answers) {
                assertThat(answer.join().text()).isEqualTo("go on\n");
            }
        }
    }

    @Test
    void devEndpointsAreThereInDevModeOnly() {
        try (Instance instance = Instance.start(directory)) {
            instance.post(PATH, body(40, false));
            JsonNode usage = instance.get("/debug/integrity").json();
            assertThat(usage.path("cached").intValue()).isPositive();
            assertThat(usage.path("free").intValue()
                            + usage.path("cached").intValue()
                            + usage.path("in_use").intValue())
                    .isEqualTo(usage.path("total").intValue());
            assertThat(instance.post("/reset_prefix_cache", "").status()).isEqualTo(200);
            assertThat(instance.get("/debug/integrity").json().path("cached").intValue())
                    .isZero();
        }
        try (Instance instance = Instance.start(directory, config -> config.devMode(false))) {
            assertThat(instance.get("/debug/integrity").status()).isEqualTo(404);
            assertThat(instance.post("/reset_prefix_cache", "").status()).isEqualTo(404);
        }
    }

    @Test
    void hangingEngineKeepsNoQuestionForEver() {
        try (Instance instance = Instance.start(directory)) {
            instance.model.stepMillis = 17_000;
            CompletableFuture<Answer> running =
                    CompletableFuture.supplyAsync(() -> instance.post(PATH, body(1, false)));
            await().until(() -> instance.model.forwards == 1);
            CompletableFuture<Answer> reset =
                    CompletableFuture.supplyAsync(() -> instance.post("/reset_prefix_cache", ""));
            Answer answer = instance.get("/debug/integrity");
            assertThat(answer.status()).isEqualTo(500);
            assertThat(answer.body()).contains("has not answered within 10 s");
            assertThat(reset.join().status()).isEqualTo(200);
            assertThat(running.join().status()).isEqualTo(200);
        }
    }

    @Test
    void simpleEndpointsAnswer() {
        try (Instance instance =
                Instance.start(directory, config -> config.servedModelNames(List.of("tiny", "small")))) {
            assertThat(instance.get("/health").body()).isEmpty();
            assertThat(instance.get("/ping").status()).isEqualTo(200);
            assertThat(instance.post("/ping", "").status()).isEqualTo(200);
            assertThat(instance.get("/version").json().path("version").isString())
                    .isTrue();
            JsonNode models = instance.get("/v1/models").json().path("data");
            assertThat(models.path(1).path("id").stringValue()).isEqualTo("small");
            assertThat(models.path(0).path("max_model_len").intValue()).isEqualTo(Instance.CONTEXT);
            Answer alias = instance.post(PATH, "{\"model\":\"small\",\"prompt\":\"a\\n\",\"max_tokens\":1}");
            assertThat(alias.json().path("model").stringValue()).isEqualTo("tiny");
        }
    }

    @Test
    void streamsOfManyClientsAreWholeUnderLoad() {
        try (Instance instance = Instance.start(directory)) {
            List<CompletableFuture<Answer>> answers = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                String body = "{\"prompt\":\"client " + i + "é\\n\",\"max_tokens\":200,\"stream\":true}";
                answers.add(CompletableFuture.supplyAsync(() -> instance.post(PATH, body)));
            }
            for (int i = 0; i < 40; i++) {
                StringBuilder text = new StringBuilder();
                answers.get(i)
                        .join()
                        .events()
                        .forEach(event -> text.append(
                                event.path("choices").path(0).path("text").asString()));
                String script = "client " + i + "é\n";
                assertThat(text.toString()).startsWith(script + script);
                int bytes = text.toString().replace("\ufffd", "?").getBytes(StandardCharsets.UTF_8).length;
                assertThat(bytes).isEqualTo(200);
            }
        }
    }
}
