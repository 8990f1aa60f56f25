package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.openai.Continuation;
import dev.baton.serving.Instance.Answer;
import java.net.http.HttpRequest;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// A stream that is cut after any of its events and continued from there is the same stream, byte for byte.
@Timeout(120)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ContinuedStreamTest {
    private static final String COMPLETIONS = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";
    private static final String TOOLS = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"time\"}}]";

    @TempDir
    static Path directory;

    private Instance instance;

    @BeforeAll
    void start() {
        instance = Instance.start(
                directory,
                config -> config.toolCallParser(Optional.of("hermes")).enableAutoToolChoice(true));
    }

    @AfterAll
    void stop() {
        if (instance != null) {
            instance.close();
        }
    }

    private record Case(String path, String body) {}

    private static Case completion(String output, String more) {
        return new Case(
                COMPLETIONS,
                "{\"prompt\":" + Instance.JSON.writeValueAsString(output + "\u0004\n") + ",\"stream\":true" + more
                        + "}");
    }

    private static Case chat(String output, String more) {
        return new Case(
                CHAT,
                "{\"messages\":[{\"role\":\"user\",\"content\":"
                        + Instance.JSON.writeValueAsString("......" + output + "\u0004\n") + "}],\"stream\":true" + more
                        + "}");
    }

    static Stream<Case> cases() {
        return Stream.of(
                completion("a short text", ",\"temperature\":0,\"max_tokens\":9"),
                completion("a short text", ",\"temperature\":0,\"max_tokens\":40"),
                completion("zürich 😀 ü", ",\"temperature\":0,\"stream_options\":{\"include_usage\":true}"),
                completion("until the stop here", ",\"temperature\":0,\"stop\":[\"the stop\",\"nothing\"]"),
                completion(
                        "a text that counts",
                        ",\"temperature\":0,\"logprobs\":2,\"stream_options\":{\"include_usage\":true,"
                                + "\"continuous_usage_stats\":true}"),
                completion("again again again", ",\"presence_penalty\":1.5,\"frequency_penalty\":0.5,\"min_tokens\":5"),
                completion("with ids", ",\"temperature\":0,\"return_token_ids\":true"),
                completion("drawn at random", ",\"temperature\":2,\"max_tokens\":30,\"ignore_eos\":true"),
                completion("{\\\"a\\\":1}", ",\"max_tokens\":30,\"response_format\":{\"type\":\"json_object\"}"),
                chat("a chat", ",\"temperature\":0,\"stream_options\":{\"include_usage\":true}"),
                chat("a chat", ",\"temperature\":0,\"logprobs\":true,\"top_logprobs\":2"),
                chat(
                        "So <tool_call>{\"name\": \"time\", \"arguments\": {\"at\": \"noon\"}}</tool_call> then",
                        ",\"temperature\":0," + TOOLS));
    }

    /// A stream's events with the tokens that the engine told before each of them.
    private record Told(List<String> events, List<int[]> tokens, boolean done) {}

    private Told stream(Case one, String body) {
        Answer answer = instance.send(HttpRequest.newBuilder(instance.uri(one.path()))
                .header("content-type", "application/json")
                .header(Continuation.HEADER, "-81985529216486896")
                .POST(HttpRequest.BodyPublishers.ofString(body)));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        assertThat(answer.response().headers().firstValue(Continuation.HEADER)).isPresent();
        List<String> events = new ArrayList<>();
        List<int[]> tokens = new ArrayList<>();
        int[] next = {};
        boolean done = false;
        for (String line : answer.body().split("\n", -1)) {
            if (line.startsWith(": baton tokens ")) {
                next = Stream.of(line.substring(": baton tokens ".length()).split(",", -1))
                        .mapToInt(Integer::parseInt)
                        .toArray();
            } else if (line.equals("data: [DONE]")) {
                done = true;
            } else if (line.startsWith("data: ")) {
                events.add(line);
                tokens.add(next);
                next = new int[0];
            } else {
                assertThat(line.isEmpty() || line.startsWith(": baton usage "))
                        .as(line)
                        .isTrue();
            }
        }
        return new Told(events, tokens, done);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void isTheSameStreamWhereverItWasCut(Case one) {
        Told whole = stream(one, one.body());
        assertThat(whole.done()).isTrue();
        assertThat(whole.tokens().stream().mapToInt(ids -> ids.length).sum()).isPositive();
        JsonNode first = json(whole.events().getFirst());
        int cuts = 0;
        for (int cut = 1; cut < whole.events().size(); cut++) {
            boolean finished =
                    json(whole.events().get(cut - 1)).path("choices").path(0).hasNonNull("finish_reason");
            int known = finished ? cut - 1 : cut;
            int[] tokens = whole.tokens().subList(0, known).stream()
                    .flatMapToInt(IntStream::of)
                    .toArray();
            if (tokens.length == 0) {
                continue;
            }
            ObjectNode body = (ObjectNode) Instance.JSON.readTree(one.body());
            body.set(
                    Continuation.FIELD,
                    new Continuation(
                                    tokens,
                                    cut,
                                    first.path("id").stringValue(),
                                    first.path("created").longValue())
                            .toJson());
            Told rest = stream(one, body.toString());
            assertThat(rest.events().stream().map(ContinuedStreamTest::comparable))
                    .as("after %d events", cut)
                    .isEqualTo(whole.events().subList(cut, whole.events().size()).stream()
                            .map(ContinuedStreamTest::comparable)
                            .toList());
            assertThat(rest.done()).isTrue();
            cuts++;
        }
        assertThat(cuts).as("cuts that were tried").isGreaterThan(3);
        instance.awaitIdle(Duration.ofSeconds(10));
    }

    private static JsonNode json(String event) {
        return Instance.JSON.readTree(event.substring("data: ".length()));
    }

    /// A call's id is drawn; how much of the prompt lay in the cache is another matter each time.
    private static String comparable(String event) {
        return event.replaceAll("\"id\":\"chatcmpl-tool-[0-9a-f]+\"", "\"id\":\"call\"")
                .replaceAll(",\"prompt_tokens_details\":\\{[^}]*}", "");
    }

    @Test
    void withoutARouterNothingIsTold() {
        Case one = completion("a short text", ",\"temperature\":0");
        Answer answer = instance.post(one.path(), one.body());
        assertThat(answer.body()).doesNotContain(": baton");
        assertThat(answer.response().headers().firstValue(Continuation.HEADER)).isEmpty();
    }

    @Test
    void whatCannotBeContinuedFromIsRefused() {
        Answer answer = instance.post(
                COMPLETIONS, "{\"prompt\":\"x\",\"stream\":true,\"continue_from\":{\"output_token_ids\":[1,\"2\"]}}");
        assertThat(answer.status()).isEqualTo(400);
        assertThat(answer.body()).contains(Continuation.FIELD);
    }
}
