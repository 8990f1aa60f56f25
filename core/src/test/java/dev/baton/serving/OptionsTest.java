package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.http.StreamResponse;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionCreateParams;
import dev.baton.serving.Instance.Answer;
import java.net.http.HttpRequest;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/// What the less usual fields of a request do to its answer.
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class OptionsTest {
    private static final String PATH = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";

    @TempDir
    static Path directory;

    @TempDir
    static Path other;

    private FavouritesInstance instance;

    @BeforeAll
    void start() {
        instance = new FavouritesInstance(directory, config -> config);
    }

    @AfterAll
    void stop() {
        if (instance != null) {
            instance.close();
        }
    }

    private JsonNode choice(String body) {
        Answer answer = instance.post(PATH, body);
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        return answer.json().path("choices").path(0);
    }

    private static String id(char c) {
        return Integer.toString(ByteTokenizer.idOf((byte) c));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"prompt": "ab", "max_tokens": 2}                                                    | ll    | length
            {"prompt": "ab", "max_tokens": 2, "echo": true}                                      | abll  | length
            {"prompt": [99, 100], "max_tokens": 2, "echo": true}                                 | abll  | length
            {"prompt": "ab", "max_tokens": 0, "echo": true}                                      | ab    | length
            {"prompt": "ab", "max_tokens": 2, "echo": true, "return_token_ids": true}            | ll    | length
            {"prompt": "abc", "max_tokens": 1, "echo": true, "truncate_prompt_tokens": 2}        | bcl   | length
            {"prompt": "abc", "max_tokens": 1, "echo": true, "truncate_prompt_tokens": 2, "truncation_side": "right"} | abl | length
            {"prompt": "ab", "max_tokens": 2, "bad_words": ["l"]}                                | }}    | length
            {"prompt": "ab", "max_tokens": 4, "bad_words": ["ll"]}                               | l}l}  | length
            {"prompt": "ab", "max_tokens": 2, "allowed_token_ids": [122, 123]}                   | xx    | length
            {"prompt": "ab", "max_tokens": 9, "structured_outputs": {"regex": "[ab]{3}"}}        | aaa   | stop
            {"prompt": "ab", "max_tokens": 9, "guided_regex": "[ab]{3}"}                         | aaa   | stop
            {"prompt": "ab", "max_tokens": 9, "structured_outputs": {"choice": ["yes", "no"]}}   | no    | stop
            {"prompt": "ab", "max_tokens": 9, "structured_outputs": {"grammar": "root ::= \\"y\\" [a-c]"}} | ya | stop
            {"prompt": "ab", "max_tokens": 9, "structured_outputs": {"json_object": true}}       | {}    | stop
            {"prompt": "ab", "max_tokens": 9, "response_format": {"type": "json_object"}}        | {}    | stop
            {"prompt": "ab", "max_tokens": 9, "response_format": {"type": "text"}, "stop": "l"}  | ``    | stop
            {"prompt": "ab", "max_tokens": 20, "structured_outputs": {"json": {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"], "additionalProperties": false}, "disable_any_whitespace": true}} | {"n":7} | stop
            {"prompt": "ab", "max_tokens": 2, "priority": 5, "user": "eve", "best_of": 1}        | ll    | length
            """)
    void fieldHasItsEffectWholeAndStreamed(String body, String text, String finishReason) {
        String greedy = body.replaceFirst("\\{", "{\"temperature\": 0, ");
        JsonNode choice = choice(greedy);
        assertThat(choice.path("text").stringValue()).isEqualTo(text);
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo(finishReason);
        Answer streamed = instance.post(PATH, greedy.replaceFirst("\\{", "{\"stream\": true, "));
        assertThat(streamed.status()).as(streamed.body()).isEqualTo(200);
        List<JsonNode> events = streamed.events();
        assertThat(events.stream()
                        .map(event -> event.path("choices").path(0).path("text").asString())
                        .collect(Collectors.joining()))
                .isEqualTo(text);
        assertThat(events.getLast()
                        .path("choices")
                        .path(0)
                        .path("finish_reason")
                        .stringValue())
                .isEqualTo(finishReason);
    }

    @Test
    void logprobsOfAnEchoedPromptComeBeforeTheOutputs() {
        JsonNode choice = choice("{\"prompt\":\"ab\",\"max_tokens\":1,\"echo\":true,\"logprobs\":1,\"temperature\":0}");
        JsonNode logprobs = choice.path("logprobs");
        assertThat(logprobs.path("tokens").toString()).isEqualTo("[\"a\",\"b\",\"l\"]");
        assertThat(logprobs.path("text_offset").toString()).isEqualTo("[0,1,2]");
        assertThat(logprobs.path("token_logprobs").get(0).isNull()).isTrue();
        assertThat(logprobs.path("top_logprobs").get(0).isNull()).isTrue();
        assertThat(logprobs.path("token_logprobs").get(1).doubleValue()).isLessThan(-10);
        assertThat(logprobs.path("token_logprobs").get(2).doubleValue()).isGreaterThan(-1);
        assertThat(logprobs.path("top_logprobs").get(1).has("l")).isTrue();
    }

    @Test
    void promptLogprobsNameTheTokenAndTheLikeliest() {
        JsonNode prompt = choice("{\"prompt\":\"ab\",\"max_tokens\":1,\"prompt_logprobs\":1}")
                .path("prompt_logprobs");
        assertThat(prompt.size()).isEqualTo(2);
        assertThat(prompt.get(0).isNull()).isTrue();
        assertThat(prompt.get(1).path(id('b')).path("decoded_token").stringValue())
                .isEqualTo("b");
        assertThat(prompt.get(1).path(id('b')).path("rank").intValue()).isGreaterThan(1);
        assertThat(prompt.get(1).path(id('l')).path("rank").intValue()).isEqualTo(1);

        JsonNode chat = instance.post(
                        CHAT,
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1,\"prompt_logprobs\":0}")
                .json();
        assertThat(chat.path("prompt_logprobs").size())
                .isEqualTo(chat.path("usage").path("prompt_tokens").intValue());
        assertThat(chat.path("prompt_logprobs").get(1).size()).isEqualTo(1);
    }

    @Test
    void echoedPromptIdsComeWithTheFirstChunkOnly() {
        List<JsonNode> events = instance.post(
                        PATH, "{\"prompt\":\"ab\",\"max_tokens\":3,\"echo\":true,\"stream\":true}")
                .events();
        assertThat(events.getFirst()
                        .path("choices")
                        .path(0)
                        .path("prompt_token_ids")
                        .size())
                .isEqualTo(2);
        assertThat(events.get(1)
                        .path("choices")
                        .path(0)
                        .path("prompt_token_ids")
                        .isNull())
                .isTrue();
    }

    @Test
    void chatGoesOnWithAndRepeatsItsLastMessage() {
        JsonNode answer = instance.post(
                        CHAT,
                        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"So\"}],\"max_tokens\":1,\"echo\":true,"
                                + "\"temperature\":0,\"continue_final_message\":true,\"add_generation_prompt\":false,"
                                + "\"return_prompt_text\":true}")
                .json();
        assertThat(answer.path("choices")
                        .path(0)
                        .path("message")
                        .path("content")
                        .stringValue())
                .isEqualTo("Sol");
        assertThat(answer.path("prompt_text").stringValue()).isEqualTo("assistant: So");
    }

    @Test
    void usageTellsWhatIsNewInTheCache() {
        String body = "{\"messages\":[{\"role\":\"user\",\"content\":\"something that fills more than one block\"}],"
                + "\"max_tokens\":1}";
        JsonNode first = instance.post(CHAT, body).json().path("usage");
        int cacheable = first.path("prompt_tokens").intValue() / 16 * 16;
        assertThat(first.path("prompt_tokens_details").path("cached_tokens").intValue())
                .isZero();
        assertThat(first.path("prompt_tokens_details")
                        .path("created_cache_tokens")
                        .intValue())
                .isEqualTo(cacheable)
                .isGreaterThan(16);
        JsonNode second = instance.post(CHAT, body).json().path("usage").path("prompt_tokens_details");
        assertThat(second.path("cached_tokens").intValue()).isEqualTo(cacheable);
        assertThat(second.path("created_cache_tokens").intValue()).isZero();
    }

    @Test
    void tokenStringsAreTheVocabularysPieces() {
        assertThat(instance.post("/tokenize", "{\"prompt\":\"a b\",\"return_token_strs\":true}")
                        .json()
                        .path("token_strs")
                        .toString())
                .isEqualTo("[\"a\",\"Ġ\",\"b\"]");
    }

    @Test
    void priorityOfTheHeaderThatIsNoNumberCountsAsNone() {
        Answer answer = instance.send(HttpRequest.newBuilder(instance.uri(PATH))
                .header("content-type", "application/json")
                .header("x-vllm-priority", "high")
                .POST(HttpRequest.BodyPublishers.ofString("{\"prompt\":\"a\",\"max_tokens\":1}")));
        assertThat(answer.status()).isEqualTo(200);
    }

    @Test
    void usageIsForcedOnEveryChunk() {
        try (FavouritesInstance forced =
                new FavouritesInstance(other, config -> config.enableForceIncludeUsage(true))) {
            List<JsonNode> events = forced.post(PATH, "{\"prompt\":\"a\",\"max_tokens\":2,\"stream\":true}")
                    .events();
            assertThat(events).hasSize(3).allMatch(event -> event.path("usage").isObject());
            assertThat(events.getLast().path("choices").isEmpty()).isTrue();
        }
    }

    @Test
    void silentStreamIsKeptAliveByCommentsThatClientsSkip() {
        try (FavouritesInstance slow = new FavouritesInstance(
                other, config -> config.sseKeepAliveInterval(Optional.of(Duration.ofMillis(100))))) {
            slow.model.stepMillis = 600;
            Answer answer = slow.post(PATH, "{\"prompt\":\"a\",\"max_tokens\":2,\"stream\":true}");
            assertThat(answer.status()).isEqualTo(200);
            assertThat(answer.body()).startsWith(": keep-alive\n\n").endsWith("data: [DONE]\n\n");
            assertThat(answer.body().split("\ndata: ")[1]).contains(": keep-alive"); // between the tokens as well
            OpenAIClient client = OpenAIOkHttpClient.builder()
                    .baseUrl(slow.uri("/v1").toString())
                    .apiKey("none")
                    .maxRetries(0)
                    .build();
            CompletionCreateParams params = CompletionCreateParams.builder()
                    .model("tiny")
                    .prompt("a")
                    .maxTokens(2)
                    .temperature(0)
                    .build();
            try (StreamResponse<Completion> stream = client.completions().createStreaming(params)) {
                assertThat(stream.stream()
                                .map(chunk -> chunk.choices().getFirst().text())
                                .collect(Collectors.joining()))
                        .isEqualTo("ll");
            } finally {
                client.close();
            }
        }
    }

    @Test
    void withoutTheFlagNoStreamHasComments() {
        assertThat(instance.post(PATH, "{\"prompt\":\"a\",\"max_tokens\":2,\"stream\":true}")
                        .body())
                .startsWith("data: ")
                .doesNotContain(": keep-alive");
    }
}
