package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.deployment.Deployment.Instance;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/// A router that sends both legs out at once, in front of two processes: the text is that of one instance, and most
/// of the KV cache is at the decoder before the prefill has ended.
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class PushTest {
    private static final int PROMPTS = 8;
    private static final int PROMPTS_AT_THE_KILL = 8;
    private static final int LONGEST_PROMPT_TOKENS = 1_000;
    private static final int OUTPUT_TOKENS = 12;
    private static final String[] CHUNKED = {"--max-num-batched-tokens", "256", "--no-enable-prefix-caching"};
    private static final String[] PUSH = {"--kv-transfer", "push"}; // engines say themselves what they are

    @TempDir
    static Path logs;

    private static Map<String, Object> body(Random random, int length, int i) {
        return Deployment.body(random.ints(length, 300, 4_000).toArray(), OUTPUT_TOKENS, i);
    }

    @Test
    void textIsThatOfOneInstanceAndMostBytesCameBeforeThePrefillsEnd() {
        try (Deployment deployment = Deployment.patient(logs)) {
            Instance prefiller = deployment.prefiller(CHUNKED);
            Instance decoder = deployment.decoder(CHUNKED);
            Instance reference = deployment.single("reference", "--no-enable-prefix-caching");
            Instance router = deployment.router(List.of(prefiller), List.of(decoder), PUSH);
            deployment.awaitReady();
            Random random = new Random(7);
            int promptTokens = 0;
            for (int i = 0; i <= PROMPTS; i++) {
                int length = i == 0 ? 40 : LONGEST_PROMPT_TOKENS * i / PROMPTS;
                Map<String, Object> body = body(random, length, i);
                assertThat(deployment.tokenIds(router, body))
                        .as("prompt %d of %d tokens", i, length)
                        .isEqualTo(deployment.tokenIds(reference, body));
                promptTokens += length;
            }
            // The first one tells the router where the prefiller listens, and is fetched after its prefill.
            assertThat(deployment.metric(decoder, "baton:kv_pushed_transfers_total"))
                    .as(deployment::logs)
                    .isEqualTo(PROMPTS);
            assertThat(deployment.metric(router, "baton_router_handoffs_total")).isEqualTo(PROMPTS + 1);
            assertThat(deployment.metric(decoder, "vllm:external_prefix_cache_hits_total"))
                    .isEqualTo(promptTokens);
            double bytes = deployment.metric(decoder, "baton:kv_received_bytes_total");
            assertThat(deployment.metric(decoder, "baton:kv_bytes_before_first_token_total"))
                    .as("bytes before the first token, of %.0f", bytes)
                    .isGreaterThan(0.3 * bytes)
                    .isLessThan(bytes);
            deployment.checkBlocks();
        }
    }

    @Test
    void aPrefillerThatIsKilledInTheMidstOfItsPushesCostsNoRequestAndNoToken() throws Exception {
        try (Deployment deployment = new Deployment(logs)) {
            Instance prefiller = deployment.prefiller(CHUNKED);
            Instance decoder = deployment.decoder(CHUNKED);
            Instance reference = deployment.single("reference", "--no-enable-prefix-caching");
            Instance router = deployment.router(List.of(prefiller), List.of(decoder), PUSH);
            deployment.awaitReady();
            Random random = new Random(11);
            List<Integer> first = deployment.tokenIds(router, body(random, 50, 0));
            assertThat(first).hasSize(OUTPUT_TOKENS);
            List<Map<String, Object>> bodies = new ArrayList<>();
            List<CompletableFuture<List<Integer>>> answers = new ArrayList<>();
            for (int i = 0; i < PROMPTS_AT_THE_KILL; i++) {
                Map<String, Object> body = body(random, LONGEST_PROMPT_TOKENS + i, 4 * i);
                bodies.add(body);
                answers.add(CompletableFuture.supplyAsync(() -> deployment.tokenIds(router, body)));
            }
            await("bytes of a prompt that the prefiller still computes")
                    .pollInterval(Duration.ofMillis(5))
                    .atMost(Duration.ofMinutes(1))
                    .until(() -> deployment.metric(decoder, "baton:kv_bytes_before_first_token_total") > 0
                            && deployment.metric(prefiller, "vllm:num_requests_running") > 0);
            assertThat(answers).as("answers before the kill").anyMatch(answer -> !answer.isDone());
            Deployment.kill(prefiller);
            for (int i = 0; i < bodies.size(); i++) {
                assertThat(answers.get(i).get(2, TimeUnit.MINUTES))
                        .as("prompt %d", i)
                        .isEqualTo(deployment.tokenIds(reference, bodies.get(i)));
            }
            assertThat(deployment.metric(decoder, "baton:kv_pushed_transfers_total"))
                    .as("pushes that the kill left alone")
                    .isLessThan(PROMPTS_AT_THE_KILL);
            deployment.checkBlocks();
        }
    }
}
