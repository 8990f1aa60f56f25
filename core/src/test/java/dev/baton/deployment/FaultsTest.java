package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.deployment.Deployment.Answer;
import dev.baton.deployment.Deployment.Instance;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// What a client sees when a process dies or a block arrives wrong: real processes, killed for real.
@Timeout(480)
class FaultsTest {
    private static final String STORY = "Once upon a time there was a small ship. ".repeat(12);

    @TempDir
    Path logs;

    private static Map<String, Object> body(int i, int maxTokens) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("prompt", STORY + "It had the number " + i + ". ");
        body.put("max_tokens", maxTokens);
        body.put("temperature", 0);
        body.put("ignore_eos", true);
        body.put("return_token_ids", true);
        return body;
    }

    @Test
    void noRequestFailsWhenPrefillersAreKilledUntilNoneIsLeft() throws Exception {
        try (Deployment deployment = new Deployment(logs)) {
            Instance victim = deployment.prefiller();
            Instance survivor = deployment.prefiller();
            Instance decoder = deployment.decoder("--no-enable-prefix-caching");
            Instance router = deployment.router(List.of(victim, survivor), List.of(decoder));
            deployment.awaitReady();
            int requests = 60;
            List<List<Integer>> expected = new ArrayList<>();
            for (int i = 0; i < requests; i++) {
                expected.add(
                        deployment.post(decoder, "/v1/completions", body(i, 16)).tokenIds());
            }

            AtomicInteger done = new AtomicInteger();
            CountDownLatch someDone = new CountDownLatch(15);
            try (ExecutorService clients = Executors.newFixedThreadPool(6)) {
                List<Future<Answer>> answers = new ArrayList<>();
                for (int i = 0; i < requests; i++) {
                    Map<String, Object> body = body(i, 16);
                    answers.add(clients.submit(() -> {
                        Answer answer = deployment.post(router, "/v1/completions", body);
                        done.incrementAndGet();
                        someDone.countDown();
                        return answer;
                    }));
                }
                assertThat(someDone.await(60, TimeUnit.SECONDS)).isTrue();
                Deployment.kill(victim);
                assertThat(done.get()).as("requests done at the kill").isLessThan(requests);
                for (int i = 0; i < requests; i++) {
                    Answer answer = answers.get(i).get(60, TimeUnit.SECONDS);
                    assertThat(answer.status()).as(answer.body()).isEqualTo(200);
                    assertThat(answer.tokenIds()).as("request %d", i).isEqualTo(expected.get(i));
                }
            }

            Deployment.kill(survivor);
            for (int i = 0; i < 3; i++) {
                Answer byTheDecoder = deployment.post(router, "/v1/completions", body(i, 16));
                assertThat(byTheDecoder.status()).as(byTheDecoder.body()).isEqualTo(200);
                assertThat(byTheDecoder.tokenIds()).isEqualTo(expected.get(i));
            }
        }
    }

    @Test
    void openStreamsEndWithAnErrorEventWhenTheDecoderIsKilled() throws Exception {
        try (Deployment deployment = new Deployment(logs)) {
            Instance prefiller = deployment.prefiller();
            Instance decoder = deployment.decoder();
            Instance router = deployment.router(List.of(prefiller), List.of(decoder));
            deployment.awaitReady();

            int streams = 6;
            CountDownLatch flowing = new CountDownLatch(streams);
            List<CompletableFuture<List<String>>> ends = new ArrayList<>();
            for (int i = 0; i < streams; i++) {
                Map<String, Object> body = body(i, 1500);
                body.put("stream", true);
                ends.add(deployment
                        .client()
                        .sendAsync(
                                Deployment.request(router, "/v1/completions", Deployment.JSON.writeValueAsString(body)),
                                HttpResponse.BodyHandlers.ofLines())
                        .thenApplyAsync(response -> collect(response, flowing)));
            }
            assertThat(flowing.await(60, TimeUnit.SECONDS)).isTrue();
            Deployment.kill(decoder);
            for (CompletableFuture<List<String>> end : ends) {
                List<String> events = end.get(60, TimeUnit.SECONDS);
                assertThat(events).doesNotContain("data: [DONE]");
                assertThat(Deployment.JSON
                                .readTree(events.getLast().substring("data: ".length()))
                                .path("error")
                                .path("message")
                                .asString())
                        .isNotBlank();
            }

            Answer refused = deployment.post(router, "/v1/completions", body(0, 4));
            assertThat(refused.status()).as(refused.body()).isEqualTo(503);
            assertThat(refused.response().headers().firstValue("Retry-After")).isPresent();
            assertThat(refused.json().path("error").path("message").asString()).isNotBlank();
            deployment.checkBlocks();

            String transfer = "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"kv_consumer\"}";
            deployment.engineOnPort("decoder", decoder.port(), "--kv-transfer-config", transfer);
            deployment.awaitReadyAgain(decoder.port());
            Awaitility.await()
                    .atMost(Duration.ofSeconds(60))
                    .untilAsserted(() -> assertThat(deployment
                                    .post(router, "/v1/completions", body(0, 4))
                                    .status())
                            .isEqualTo(200));
        }
    }

    private static List<String> collect(HttpResponse<Stream<String>> response, CountDownLatch flowing) {
        List<String> events = new ArrayList<>();
        response.body().filter(line -> !line.isBlank()).forEach(line -> {
            if (events.isEmpty()) {
                flowing.countDown();
            }
            events.add(line);
        });
        return events;
    }

    @Test
    void flippedBitIsCaughtAndThePromptRecomputed() throws Exception {
        try (Deployment deployment = new Deployment(logs)) {
            Instance prefiller = deployment.prefiller();
            // Only what goes over a connection can be damaged there.
            Instance decoder = deployment.single("decoder", "--kv-transfer-config", """
                    {"kv_connector": "TcpConnector", "kv_role": "kv_consumer", "kv_ip": "127.0.0.1", "kv_port": 0,
                     "kv_connector_extra_config": {"kv_shared_memory": false}}""");
            deployment.awaitReady();
            Map<String, Object> body = body(1, 24);
            List<Integer> expected =
                    deployment.post(prefiller, "/v1/completions", body).tokenIds();

            Map<String, Object> prefill = new LinkedHashMap<>(body);
            prefill.put("max_tokens", 1);
            prefill.put(
                    "kv_transfer_params",
                    Deployment.JSON.readTree(
                            "{\"do_remote_decode\":true,\"do_remote_prefill\":false,"
                                    + "\"remote_engine_id\":null,\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}"));
            Answer handOff = deployment.post(prefiller, "/v1/completions", prefill);
            Map<String, Object> params = new LinkedHashMap<>();
            handOff.json()
                    .path("kv_transfer_params")
                    .properties()
                    .forEach(entry -> params.put(entry.getKey(), entry.getValue()));
            int port = handOff.json()
                    .path("kv_transfer_params")
                    .path("remote_port")
                    .intValue();
            assertThat(port).as(handOff.body()).isPositive();

            try (FlippingProxy proxy = new FlippingProxy(port)) {
                params.put("remote_port", proxy.port());
                Map<String, Object> decode = new LinkedHashMap<>(body);
                decode.put("kv_transfer_params", params);
                Answer answer = deployment.post(decoder, "/v1/completions", decode);
                assertThat(proxy.flippedBits()).isPositive();
                assertThat(answer.status()).as(answer.body()).isEqualTo(200);
                assertThat(answer.tokenIds()).isEqualTo(expected);
                assertThat(deployment.metric(decoder, "vllm:external_prefix_cache_hits_total"))
                        .isZero();
            }
        }
    }
}
