package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.serving.Instance.Answer;
import dev.baton.transfer.KvRole;
import java.net.http.HttpRequest;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// The two legs of a hand-off over HTTP, as a router drives them.
@Timeout(60)
class HandOffTest {
    private static final String PATH = "/v1/completions";
    private static final String PROMPT =
            "the quick brown fox jumps over the lazy dog; " + "again and ".repeat(10) + "\n";
    private static final Map<String, Object> ASK = new LinkedHashMap<>();

    static {
        ASK.put("do_remote_decode", true);
        ASK.put("do_remote_prefill", false);
        for (String key : List.of("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")) {
            ASK.put(key, null);
        }
    }

    @TempDir
    Path directory;

    private Instance prefiller;
    private Instance decoder;

    @BeforeEach
    void start() throws Exception {
        prefiller = Instance.startWithConnector(Files.createDirectory(directory.resolve("p")), KvRole.KV_PRODUCER);
        decoder = Instance.startWithConnector(Files.createDirectory(directory.resolve("d")), KvRole.KV_CONSUMER);
    }

    @AfterEach
    void stop() {
        try (Instance first = decoder;
                Instance second = prefiller) {
            assertThat(first).isNotSameAs(second);
        }
    }

    private static Map<String, Object> body(int maxTokens, Object params) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("prompt", PROMPT);
        body.put("max_tokens", maxTokens);
        body.put("temperature", 0);
        body.put("kv_transfer_params", params);
        return body;
    }

    @Test
    void decoderConnectsToThePrefillerThatItIsToldOfBeforeAnyRequest() {
        Answer health = prefiller.send(HttpRequest.newBuilder(prefiller.uri("/health")));
        assertThat(health.status()).isEqualTo(200);
        JsonNode peer = Instance.JSON.readTree(health.header("x-kv-peer"));
        assertThat(peer.path("remote_engine_id").asString()).isNotBlank();
        assertThat(peer.path("remote_host").asString()).isEqualTo("127.0.0.1");
        assertThat(peer.path("remote_port").asInt()).isPositive();
        assertThat(peer.path("remote_pushes").asBoolean(false)).isTrue();
        assertThat(servingThreads()).isZero();
        Answer told = decoder.send(decoder.request("/kv_peers", peer.toString()));
        assertThat(told.status()).isEqualTo(200);
        await("a connection to the prefiller").until(() -> servingThreads() == 1);
    }

    private static long servingThreads() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("baton-kv-serve-"))
                .count();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{}",
                "[]",
                "{\"remote_engine_id\":\"e\",\"remote_host\":\"h\"}",
                "{\"remote_engine_id\":\"e\",\"remote_host\":\"h\",\"remote_port\":65536}",
                "{\"remote_engine_id\":\"\",\"remote_host\":\"h\",\"remote_port\":1}"
            })
    void peerThatIsNoneIsRefused(String body) {
        assertThat(decoder.send(decoder.request("/kv_peers", body)).status()).isEqualTo(400);
    }

    private JsonNode prefill(String requestId) {
        Answer answer = prefiller.send(prefiller
                .request(PATH, Instance.JSON.writeValueAsString(body(1, ASK)))
                .header("x-request-id", requestId));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        return answer.json().path("kv_transfer_params");
    }

    @Test
    void prefillersAnswerNamesItsBlocksAndTheDecoderLoadsThem() {
        JsonNode params = prefill("r-1");
        assertThat(params.path("do_remote_prefill").booleanValue()).isTrue();
        assertThat(params.path("do_remote_decode").booleanValue()).isFalse();
        assertThat(params.path("remote_block_ids").path(0).isArray()).isTrue();
        assertThat(params.path("remote_num_tokens").intValue()).isEqualTo(PROMPT.length());
        assertThat(params.path("remote_port").intValue()).isPositive();
        assertThat(params.path("tp_size").intValue()).isEqualTo(1);
        await("published behind the step that gave the answer")
                .untilAsserted(
                        () -> assertThat(prefiller.engine.stats().numHeld()).isEqualTo(1));

        Answer answer = decoder.post(PATH, body(12, params));
        assertThat(answer.text()).isEqualTo(PROMPT.substring(0, 12));
        assertThat(answer.json().path("kv_transfer_params").isNull()).isTrue();
        assertThat(decoder.engine.stats().externalHitTokens()).isPositive();
        assertThat(answer.json()
                        .path("usage")
                        .path("prompt_tokens_details")
                        .path("cached_tokens")
                        .intValue())
                .isGreaterThan(PROMPT.length() - 17);
        String metrics =
                decoder.send(HttpRequest.newBuilder(decoder.uri("/metrics"))).body();
        String peer = params.path("remote_host").asString() + ":" + params.path("remote_port");
        assertThat(metrics.lines().filter(line -> line.contains("peer=\"" + peer + "\"")))
                .anyMatch(line -> line.startsWith("baton:kv_peer_transfers_total{") && line.endsWith(" 1.0"))
                .anyMatch(line -> line.startsWith("baton:kv_peer_failed_transfers_total{") && line.endsWith(" 0.0"))
                .anyMatch(line -> line.startsWith("baton:kv_peer_received_bytes_total{") && !line.endsWith(" 0.0"));
        assertThat(metrics.lines())
                .anyMatch(line -> line.startsWith("vllm:nixl_xfer_time_seconds_count{") && line.endsWith(" 1"))
                .anyMatch(line -> line.startsWith("vllm:nixl_bytes_transferred_count{") && line.endsWith(" 1"))
                .anyMatch(line -> line.startsWith("vllm:nixl_num_descriptors_count{") && line.endsWith(" 1"));
        prefiller.awaitIdle(Duration.ofSeconds(15));
    }

    @ParameterizedTest
    @ValueSource(strings = {PATH, "/v1/chat/completions"})
    void streamedPrefillLegIsRefusedBecauseNobodyWouldHearOfItsBlocks(String path) {
        Map<String, Object> body = body(1, ASK);
        body.put("messages", List.of(Map.of("role", "user", "content", "a")));
        body.put("stream", true);
        Answer answer = prefiller.post(path, body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(400);
        assertThat(answer.json().path("error").path("param").stringValue()).isEqualTo("stream");
        assertThat(prefiller.engine.stats().numHeld()).isZero();
    }

    @Test
    void abortByIdLetsGoOfHeldBlocks() {
        prefill("r-2");
        assertThat(prefiller.engine.checkIntegrity().join().inUse()).isPositive();
        assertThat(prefiller
                        .post("/abort_requests", "{\"request_ids\":[\"r-2\"]}")
                        .status())
                .isEqualTo(200);
        prefiller.awaitIdle(Duration.ofSeconds(15));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"max_tokens\":0",
                "\"temperature\":1e39",
                "\"model\":\"other\"",
                "\"temperature\":\"x\"",
                "\"prompt\":[9999]"
            })
    void refusedDecodeLegLetsGoOfTheBlocksOnThePrefiller(String wrong) {
        JsonNode params = prefill("r-3");
        String body = "{\"prompt\":\"a\"," + wrong + ",\"kv_transfer_params\":" + params + "}";
        assertThat(decoder.post(PATH, body).status()).isBetween(400, 404);
        prefiller.awaitIdle(Duration.ofSeconds(15));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"do_remote_prefill\":true}",
                "{\"do_remote_prefill\":true,\"remote_block_ids\":\"x\",\"remote_engine_id\":5}",
                "{\"do_remote_prefill\":null,\"do_remote_decode\":null,\"remote_block_ids\":null}",
                "{}"
            })
    void unusableParamsLeadToALocalPrefill(String params) {
        Answer answer = decoder.post(PATH, body(4, Instance.JSON.readTree(params)));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        assertThat(answer.text()).isEqualTo("the ");
    }

    @Test
    void clientOfThePrefillLegThatGoesAwayLeavesNothingHeld() throws Exception {
        prefiller.model.stepMillis = 2_000;
        Thread client = Thread.ofVirtual()
                .uncaughtExceptionHandler((thread, expected) -> {})
                .start(() -> prefill("r-4"));
        await().pollInterval(Duration.ofMillis(5)).until(() -> prefiller.model.forwards == 1);
        client.interrupt(); // closes the connection
        prefiller.awaitIdle(Duration.ofSeconds(15));
    }

    @Test
    void onlyTheFirstOfSeveralChoicesTakesPartInAHandOff() {
        JsonNode params = prefill("r-5");
        Map<String, Object> body = body(3, params);
        body.put("n", 3);
        body.put("temperature", 0.01);
        Answer answer = decoder.post(PATH, body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        for (JsonNode choice : answer.json().path("choices")) {
            assertThat(choice.path("text").asString()).isEqualTo("the");
        }
        prefiller.awaitIdle(Duration.ofSeconds(15));
    }
}
