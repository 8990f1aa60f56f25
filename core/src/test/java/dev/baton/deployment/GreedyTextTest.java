package dev.baton.deployment;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.tokenizer.Tokenizer;
import dev.baton.transfer.KvTransferParams;
import java.io.InputStream;
import java.nio.file.Files;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import tools.jackson.databind.JsonNode;

/// The embedded model's greedy text equals that of Hugging Face transformers in f32, prompt ids included. The
/// fixture is written by `models/training/make_fixture.py`.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class GreedyTextTest {
    /// Two implementations that sum in another order differ by about 1e-6 of the largest logit; a gap between
    /// the two likeliest tokens below this is a near-tie that either may win.
    private static final double NEAR_TIE = 1e-3;

    private JsonNode items;
    private Tokenizer tokenizer;
    private Engine engine;

    @BeforeAll
    void start() throws Exception {
        Assumptions.assumeTrue(
                Files.exists(Deployment.MODEL.resolve("model.safetensors")), "the embedded model is not there");
        try (InputStream fixture = GreedyTextTest.class.getResourceAsStream("/fixtures/baton-tiny-greedy.json")) {
            items = Deployment.JSON.readTree(fixture).path("items");
        }
        tokenizer = Tokenizer.load(Deployment.MODEL);
        engine = Engine.start(
                EngineConfig.builder("baton-tiny", 2048)
                        .blockTokens(16)
                        .numBlocks(1024)
                        .maxNumSeqs(16)
                        .maxNumBatchedTokens(512)
                        .maxWaiting(64)
                        .stepDeadline(Duration.ofSeconds(60))
                        .build(),
                ModelLoader.load(Deployment.MODEL, LoadOptions.defaults()));
    }

    @AfterAll
    void stop() {
        if (engine != null) {
            engine.close();
            tokenizer.close();
        }
    }

    @Test
    void promptsBecomeTheSameTokens() {
        for (JsonNode item : items) {
            int[] ids = item.has("messages")
                    ? tokenizer.encode(rendered(item), false)
                    : tokenizer.encode(item.path("prompt").asString(), true);
            assertThat(ids).as(item.toString()).containsExactly(ints(item.path("prompt_token_ids")));
        }
    }

    @SuppressWarnings("unchecked") // JSON objects have text keys
    private String rendered(JsonNode item) {
        List<Map<String, Object>> messages = Deployment.JSON.convertValue(
                item.path("messages"), (Class<List<Map<String, Object>>>) (Class<?>) List.class);
        String text = tokenizer.chatTemplate().orElseThrow().render(messages, true, Map.of());
        assertThat(text).isEqualTo(item.path("rendered").asString());
        return text;
    }

    @Test
    void greedyTokensEqualThoseOfTransformersUpToNearTies() throws Exception {
        List<CompletableFuture<List<Integer>>> answers = new ArrayList<>();
        for (JsonNode item : items) {
            answers.add(generate("r" + answers.size(), item));
        }
        assertThat(answers).hasSize(20);
        int equal = 0;
        for (int i = 0; i < answers.size(); i++) {
            int[] expected = ints(items.path(i).path("generated_token_ids"));
            List<Integer> actual = answers.get(i).get(60, TimeUnit.SECONDS);
            int at = 0;
            while (at < expected.length && at < actual.size() && expected[at] == actual.get(at)) {
                at++;
            }
            if (at == expected.length && at == actual.size()) {
                equal++;
            } else {
                assertThat(items.path(i).path("top2_logit_gaps").path(at).doubleValue())
                        .as("gap at the first difference, token %d of item %d", at, i)
                        .isLessThan(NEAR_TIE);
            }
        }
        assertThat(equal).isGreaterThanOrEqualTo(18);
    }

    private CompletableFuture<List<Integer>> generate(String id, JsonNode item) {
        CompletableFuture<List<Integer>> answer = new CompletableFuture<>();
        List<Integer> tokens = new ArrayList<>();
        engine.submit(
                new EngineRequest(
                        id,
                        ints(item.path("prompt_token_ids")),
                        SamplingParams.greedy(item.path("generated_token_ids").size()),
                        KvTransferParams.NONE),
                output -> {
                    for (int token : output.tokenIds()) {
                        tokens.add(token);
                    }
                    if (output.finish().isPresent()) {
                        answer.complete(tokens);
                    }
                });
        return answer;
    }

    private static int[] ints(JsonNode array) {
        int[] ints = new int[array.size()];
        for (int i = 0; i < ints.length; i++) {
            ints[i] = array.path(i).intValue();
        }
        return ints;
    }
}
