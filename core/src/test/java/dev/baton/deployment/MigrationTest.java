package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.deployment.Deployment.Instance;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/// Streams whose decoder is killed for real go on at another one, and are the streams that they would have been.
@Timeout(480)
class MigrationTest {
    private static final String STORY = "Once upon a time there was a small ship. ".repeat(8);
    private static final int TOKENS = 600;
    /// Of each stream, when the decoder is killed.
    private static final int FLOWING_LINES = 20;

    @TempDir
    Path logs;

    /// One stream to be had twice.
    private record Asked(String path, Map<String, Object> body) {}

    private static List<Asked> asked() {
        List<Asked> all = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            boolean chat = i % 2 == 1;
            Map<String, Object> body = new LinkedHashMap<>();
            String text = STORY + "It had the number " + i + ". ";
            if (chat) {
                body.put("messages", List.of(Map.of("role", "user", "content", text)));
            } else {
                body.put("prompt", text);
            }
            body.put("max_tokens", TOKENS + i);
            body.put("ignore_eos", true);
            body.put("stream", true);
            body.put("stream_options", Map.of("include_usage", true));
            switch (i / 2) {
                case 0 -> body.put("temperature", 0);
                case 1 -> {
                    body.put("temperature", 1.2);
                    body.put("top_p", 0.95);
                    body.put("seed", 40 + i);
                }
                case 2 -> {
                    body.put("temperature", 0.9);
                    body.put("seed", i);
                    body.put("frequency_penalty", 0.3);
                    body.put("repetition_penalty", 1.1);
                    body.put("stop", List.of("qqqzzz", "no such thing"));
                }
                default -> {
                    body.put("temperature", 0.8);
                    body.put("seed", i);
                    body.put("logprobs", chat ? (Object) true : (Object) 1);
                }
            }
            all.add(new Asked(chat ? "/v1/chat/completions" : "/v1/completions", body));
        }
        return all;
    }

    @Test
    void streamsOfAKilledDecoderEndAsTheyWouldHave() throws Exception {
        try (Deployment deployment = new Deployment(logs)) {
            Instance prefiller = deployment.prefiller();
            Instance victim = deployment.decoder();
            Instance survivor = deployment.decoder();
            Instance router = deployment.router(List.of(prefiller), List.of(victim, survivor));
            deployment.awaitReady();
            List<Asked> asked = asked();
            List<List<JsonNode>> undisturbed = Deployment.atOnce(
                    asked,
                    one -> start(deployment, router, one, new CountDownLatch(0))
                            .orTimeout(120, TimeUnit.SECONDS)
                            .join());

            CountDownLatch flowing = new CountDownLatch(asked.size());
            List<CompletableFuture<List<JsonNode>>> streams = new ArrayList<>();
            for (Asked one : asked) {
                streams.add(start(deployment, router, one, flowing));
            }
            assertThat(flowing.await(60, TimeUnit.SECONDS)).isTrue();
            assertThat(streams.stream().noneMatch(CompletableFuture::isDone))
                    .as("all are under way")
                    .isTrue();
            double open = deployment.metric(victim, "vllm:num_requests_running");
            assertThat(open).as("streams on the victim").isPositive();
            Deployment.kill(victim);

            for (int i = 0; i < streams.size(); i++) {
                List<JsonNode> events = streams.get(i).get(120, TimeUnit.SECONDS);
                assertThat(comparable(events)).as("%s", asked.get(i)).isEqualTo(comparable(undisturbed.get(i)));
                assertThat(events)
                        .as("one head for all events of %s", asked.get(i))
                        .allSatisfy(event -> {
                            assertThat(event.path("id"))
                                    .isEqualTo(events.getFirst().path("id"));
                            assertThat(event.path("created"))
                                    .isEqualTo(events.getFirst().path("created"));
                        });
            }
            assertThat(deployment.metric(router, "baton_router_stream_migrations_total"))
                    .isEqualTo(open);
            assertThat(deployment.metric(survivor, "vllm:external_prefix_cache_hits_total"))
                    .as("what was sent was prefilled by the prefiller")
                    .isPositive();
        }
    }

    private static CompletableFuture<List<JsonNode>> start(
            Deployment deployment, Instance router, Asked one, CountDownLatch flowing) {
        return deployment
                .client()
                .sendAsync(
                        Deployment.request(router, one.path(), Deployment.JSON.writeValueAsString(one.body())),
                        HttpResponse.BodyHandlers.ofLines())
                .thenApplyAsync(
                        response -> {
                            List<String> lines = new ArrayList<>();
                            response.body().filter(line -> !line.isEmpty()).forEach(line -> {
                                lines.add(line);
                                if (lines.size() == FLOWING_LINES) {
                                    flowing.countDown();
                                }
                            });
                            assertThat(lines).last().isEqualTo("data: [DONE]");
                            lines.removeLast();
                            assertThat(lines).allMatch(line -> line.startsWith("data: "));
                            return lines.stream()
                                    .map(line -> Deployment.JSON.readTree(line.substring("data: ".length())))
                                    .toList();
                        },
                        Thread::startVirtualThread); // all of them at once
    }

    private static List<List<JsonNode>> comparable(List<JsonNode> events) {
        return events.stream()
                .map(event -> List.of(
                        event.path("choices"),
                        event.path("usage").path("prompt_tokens"),
                        event.path("usage").path("completion_tokens")))
                .toList();
    }
}
