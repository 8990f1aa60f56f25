package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.serving.Instance.Answer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class CompletionTest {
    private static final String PATH = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";

    @TempDir
    static Path directory;

    private Instance instance;

    @BeforeAll
    void start() {
        instance = Instance.start(directory);
    }

    @AfterAll
    void stop() {
        if (instance != null) {
            instance.close();
        }
    }

    @AfterEach
    void nothingRuns() {
        instance.awaitIdle(java.time.Duration.ofSeconds(20));
    }

    private static Map<String, Object> body(String prompt, int maxTokens, Object... more) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("model", "tiny");
        body.put("prompt", prompt);
        body.put("max_tokens", maxTokens);
        body.put("temperature", 0);
        for (int i = 0; i < more.length; i += 2) {
            body.put((String) more[i], more[i + 1]);
        }
        return body;
    }

    private static Map<String, Object> chat(String content, int maxTokens, Object... more) {
        Map<String, Object> body = body("", maxTokens, more);
        body.remove("prompt");
        body.put("messages", List.of(Map.of("role", "user", "content", content)));
        return body;
    }

    private static String streamedText(Answer answer) {
        StringBuilder text = new StringBuilder();
        for (JsonNode event : answer.events()) {
            for (JsonNode choice : event.path("choices")) {
                text.append(choice.path("text").asString(""));
                text.append(choice.path("delta").path("content").asString(""));
            }
        }
        return text.toString();
    }

    @Test
    void completionSaysWhatTheModelSays() {
        Answer answer = instance.post(PATH, body("hello\n", 9));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        assertThat(answer.text()).isEqualTo("hello\nhel");
        assertThat(answer.json().path("choices").path(0).path("finish_reason").asString())
                .isEqualTo("length");
        assertThat(answer.json().path("usage").path("completion_tokens").intValue())
                .isEqualTo(9);
        assertThat(answer.json().path("usage").path("prompt_tokens").intValue()).isEqualTo(6);
    }

    @Test
    void endOfSequenceIsNotShownButCounted() {
        Answer answer = instance.post(PATH, body("bye\u0004\n", 20));
        assertThat(answer.text()).isEqualTo("bye");
        JsonNode choice = answer.json().path("choices").path(0);
        assertThat(choice.path("finish_reason").asString()).isEqualTo("stop");
        assertThat(choice.path("stop_reason").isNull()).isTrue();
        assertThat(answer.json().path("usage").path("completion_tokens").intValue())
                .isEqualTo(4);
    }

    @Test
    void ignoreEosGoesOn() {
        Answer answer = instance.post(PATH, body("a\u0004\n", 3, "ignore_eos", true, "return_token_ids", true));
        JsonNode ids = answer.json().path("choices").path(0).path("token_ids");
        assertThat(ids.size()).isEqualTo(3);
        assertThat(ids.get(1).intValue()).isEqualTo(ByteTokenizer.END);
    }

    @ParameterizedTest
    @ValueSource(strings = {"héllo wörld ", "日本語テキスト", "🎈🎉🧨", "a🎈é語z", "e\u0301\u0302"})
    void charactersOfSeveralTokensArriveWholeInAnyChunking(String script) {
        int tokens = ByteTokenizer.ids(script).length;
        Answer whole = instance.post(PATH, body(script + "\n", tokens));
        assertThat(whole.text()).isEqualTo(script);
        Answer streamed = instance.post(PATH, body(script + "\n", tokens, "stream", true));
        assertThat(streamedText(streamed)).isEqualTo(script).doesNotContain("\ufffd");
        assertThat(streamed.events()).hasSize(tokens);
    }

    @Test
    void characterThatIsCutOffAtTheEndBecomesOneReplacement() {
        Answer answer = instance.post(PATH, body("ab🎈\n", 4));
        assertThat(answer.text()).isEqualTo("ab\ufffd");
        assertThat(streamedText(instance.post(PATH, body("ab🎈\n", 4, "stream", true))))
                .isEqualTo("ab\ufffd");
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void stopTextEndsTheGenerationAcrossTokens(boolean include) {
        Map<String, Object> body =
                body("one two three\n", 100, "stop", List.of("zzz", "two th"), "include_stop_str_in_output", include);
        Answer answer = instance.post(PATH, body);
        String expected = include ? "one two th" : "one ";
        assertThat(answer.text()).isEqualTo(expected);
        JsonNode choice = answer.json().path("choices").path(0);
        assertThat(choice.path("finish_reason").asString()).isEqualTo("stop");
        assertThat(choice.path("stop_reason").asString()).isEqualTo("two th");
        assertThat(answer.json().path("usage").path("completion_tokens").intValue())
                .isEqualTo(10);
        body.put("stream", true);
        Answer streamed = instance.post(PATH, body);
        assertThat(streamedText(streamed)).isEqualTo(expected);
        assertThat(streamed.events()
                        .getLast()
                        .path("choices")
                        .path(0)
                        .path("stop_reason")
                        .asString())
                .isEqualTo("two th");
    }

    @Test
    void stopTextDoesNotEndBeforeMinTokens() {
        assertThat(instance.post(PATH, body("abc\n", 12, "stop", "b", "min_tokens", 3))
                        .text())
                .isEqualTo("abc\na");
    }

    @Test
    void stopTokenIsReportedAndHidden() {
        int comma = ByteTokenizer.idOf((byte) ',');
        Answer answer = instance.post(PATH, body("ab,cd\n", 20, "stop_token_ids", List.of(comma)));
        assertThat(answer.text()).isEqualTo("ab");
        assertThat(answer.json().path("choices").path(0).path("stop_reason").intValue())
                .isEqualTo(comma);
    }

    @Test
    void tokenIdsBatchAndChoicesAreIndexedByPromptAndChoice() {
        Map<String, Object> body = body("", 3, "n", 2, "temperature", 0.01, "seed", 1);
        body.put("prompt", List.of(ByteTokenizer.ids("xyz\n"), ByteTokenizer.ids("abc\n")));
        Answer answer = instance.post(PATH, body);
        List<String> texts = new ArrayList<>();
        for (JsonNode choice : answer.json().path("choices")) {
            assertThat(choice.path("index").intValue()).isEqualTo(texts.size());
            texts.add(choice.path("text").asString());
        }
        assertThat(texts).containsExactly("xyz", "xyz", "abc", "abc");
        assertThat(answer.json().path("usage").path("prompt_tokens").intValue()).isEqualTo(8);
        assertThat(answer.json().path("usage").path("completion_tokens").intValue())
                .isEqualTo(12);
        body.put("prompt", List.of("xyz\n", "abc\n"));
        assertThat(instance.post(PATH, body)
                        .json()
                        .path("choices")
                        .path(3)
                        .path("text")
                        .asString())
                .isEqualTo("abc");
    }

    @Test
    void logprobsHaveOneEntryAToken() {
        Answer answer = instance.post(PATH, body("hi\n", 2, "logprobs", 2));
        JsonNode logprobs = answer.json().path("choices").path(0).path("logprobs");
        assertThat(logprobs.path("tokens").toString()).isEqualTo("[\"h\",\"i\"]");
        assertThat(logprobs.path("text_offset").toString()).isEqualTo("[0,1]");
        assertThat(logprobs.path("token_logprobs").path(0).doubleValue()).isBetween(-0.1, 0.0);
        assertThat(logprobs.path("top_logprobs").path(0).size()).isEqualTo(2);
        assertThat(logprobs.path("top_logprobs").path(0).path("i").doubleValue())
                .isBetween(-30.2, -29.8);
        Answer streamed = instance.post(PATH, body("hi\n", 2, "logprobs", 1, "stream", true));
        assertThat(streamed.events()
                        .get(1)
                        .path("choices")
                        .path(0)
                        .path("logprobs")
                        .path("text_offset")
                        .toString())
                .isEqualTo("[1]");
    }

    @Test
    void chatLogprobsHaveBytes() {
        Answer answer = instance.post(
                CHAT, chat("é\n", 8, "logprobs", true, "top_logprobs", 1, "add_generation_prompt", false));
        JsonNode content =
                answer.json().path("choices").path(0).path("logprobs").path("content");
        assertThat(content.size()).isEqualTo(8);
        assertThat(content.get(5).path("bytes").toString()).isEqualTo("[195]");
        assertThat(content.get(5).path("top_logprobs").size()).isEqualTo(1);
    }

    @Test
    void streamEndsWithUsageAndDone() {
        Answer answer =
                instance.post(PATH, body("abc\n", 3, "stream", true, "stream_options", Map.of("include_usage", true)));
        assertThat(answer.header("content-type")).isEqualTo("text/event-stream; charset=utf-8");
        assertThat(answer.body()).endsWith("data: [DONE]\n\n");
        List<JsonNode> events = answer.events();
        assertThat(events).hasSize(4);
        assertThat(events.get(2).path("choices").path(0).path("finish_reason").asString())
                .isEqualTo("length");
        assertThat(events.get(2).has("usage")).isFalse();
        assertThat(events.get(3).path("choices").isEmpty()).isTrue();
        assertThat(events.get(3).path("usage").path("total_tokens").intValue()).isEqualTo(7);
    }

    @Test
    void continuousUsageCountsUp() {
        Answer answer = instance.post(
                CHAT,
                chat(
                        "abc\n",
                        3,
                        "stream",
                        true,
                        "stream_options",
                        Map.of("include_usage", true, "continuous_usage_stats", true)));
        List<Integer> counts = answer.events().stream()
                .map(event -> event.path("usage").path("completion_tokens").intValue())
                .toList();
        assertThat(counts).containsExactly(0, 1, 2, 3, 3);
    }

    @Test
    void chatStreamBeginsWithTheRole() {
        Answer answer = instance.post(CHAT, chat("x\n", 9, "stream", true));
        List<JsonNode> events = answer.events();
        assertThat(events.getFirst().path("choices").path(0).path("delta").toString())
                .isEqualTo("{\"role\":\"assistant\",\"content\":\"\"}");
        assertThat(streamedText(answer)).isEqualTo("istant: i");
        assertThat(events.getLast()
                        .path("choices")
                        .path(0)
                        .path("finish_reason")
                        .asString())
                .isEqualTo("length");
    }

    @Test
    void messagePartsAreJoinedAndTheFinalMessageCanGoOn() {
        Map<String, Object> body = chat("", 9, "return_token_ids", true);
        body.put(
                "messages",
                List.of(
                        Map.of(
                                "role",
                                "user",
                                "content",
                                List.of(Map.of("type", "text", "text", "p"), Map.of("type", "text", "text", "q"))),
                        Map.of("role", "assistant", "content", "So")));
        body.put("add_generation_prompt", false);
        body.put("continue_final_message", true);
        Answer answer = instance.post(CHAT, body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        int[] prompt = new int[answer.json().path("prompt_token_ids").size()];
        for (int i = 0; i < prompt.length; i++) {
            prompt[i] = answer.json().path("prompt_token_ids").get(i).intValue();
        }
        assertThat(prompt).isEqualTo(ByteTokenizer.ids("user: p\nq;assistant: So"));
        assertThat(answer.json()
                        .path("choices")
                        .path(0)
                        .path("message")
                        .path("role")
                        .asString())
                .isEqualTo("assistant");
    }

    @Test
    void cachedTokensAreShown() {
        String prompt = "c".repeat(100) + "ache\n";
        instance.post(PATH, body(prompt, 1));
        Answer again = instance.post(PATH, body(prompt, 1));
        assertThat(again.json()
                        .path("usage")
                        .path("prompt_tokens_details")
                        .path("cached_tokens")
                        .intValue())
                .isEqualTo(96);
        Answer stopped = instance.post(PATH, body(prompt, 5, "stop", "c"));
        assertThat(stopped.json()
                        .path("usage")
                        .path("prompt_tokens_details")
                        .path("cached_tokens")
                        .intValue())
                .isEqualTo(96);
    }

    @Test
    void maxTokensOverTheContextAreCutAsVllmDoes() {
        Map<String, Object> body = body("", 100);
        body.put("prompt", ByteTokenizer.ids("a".repeat(999) + "\n"));
        Answer answer = instance.post(PATH, body);
        assertThat(answer.status()).isEqualTo(200);
        assertThat(answer.json().path("usage").path("completion_tokens").intValue())
                .isEqualTo(24);
    }

    @Test
    void truncationKeepsTheLastTokens() {
        Answer answer = instance.post(PATH, body("abcdef\n", 2, "truncate_prompt_tokens", 3, "return_token_ids", true));
        assertThat(answer.json()
                        .path("choices")
                        .path(0)
                        .path("prompt_token_ids")
                        .size())
                .isEqualTo(3);
        assertThat(answer.text()).isEqualTo("ef");
    }

    @Test
    void requestIdComesFromHeaderThenBody() {
        Answer fromBody = instance.post(PATH, body("a\n", 1, "request_id", "abc-1"));
        assertThat(fromBody.json().path("id").asString()).isEqualTo("cmpl-abc-1");
        Answer fromHeader = instance.send(
                instance.request(CHAT, Instance.JSON.writeValueAsString(chat("a\n", 1, "request_id", "abc-1")))
                        .header("X-Request-Id", "h-2"));
        assertThat(fromHeader.json().path("id").asString()).isEqualTo("chatcmpl-h-2");
    }

    @Test
    void tokenizeAndDetokenize() {
        Answer tokens = instance.post("/tokenize", Map.of("model", "tiny", "prompt", "hé", "return_token_strs", true));
        assertThat(tokens.json().path("count").intValue()).isEqualTo(3);
        assertThat(tokens.json().path("max_model_len").intValue()).isEqualTo(Instance.CONTEXT);
        assertThat(tokens.json().path("token_strs").size()).isEqualTo(3);
        Answer chat = instance.post("/tokenize", Map.of("messages", List.of(Map.of("role", "user", "content", "x"))));
        Answer text = instance.post("/detokenize", Map.of("tokens", chat.json().path("tokens")));
        assertThat(text.json().path("prompt").asString()).isEqualTo("user: x;assistant: ");
    }

    @Test
    void metricsCountWhatWasServed() {
        String before = instance.get("/metrics").body();
        instance.post(PATH, body("abc\n", 5));
        String after = instance.get("/metrics").body();
        for (String name : List.of(
                "vllm:generation_tokens_total{engine=\"0\",model_name=\"tiny\"} ",
                "vllm:prompt_tokens_total{engine=\"0\",model_name=\"tiny\"} ",
                "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"tiny\"} ",
                "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"tiny\"} ")) {
            assertThat(value(after, name)).as(name).isGreaterThan(value(before, name));
        }
        assertThat(value(after, "vllm:generation_tokens_total{engine=\"0\",model_name=\"tiny\"} "))
                .isEqualTo(value(before, "vllm:generation_tokens_total{engine=\"0\",model_name=\"tiny\"} ") + 5);
        assertThat(after)
                .contains("vllm:num_requests_running{", "vllm:kv_cache_usage_perc{", "vllm:cache_config_info{");
    }

    private static double value(String text, String series) {
        int at = text.indexOf("\n" + series);
        if (at < 0) {
            return 0;
        }
        int from = at + 1 + series.length();
        return Double.parseDouble(text.substring(from, text.indexOf('\n', from)));
    }
}
