package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.JsonValue;
import com.openai.core.http.StreamResponse;
import com.openai.helpers.ChatCompletionAccumulator;
import com.openai.models.FunctionDefinition;
import com.openai.models.FunctionParameters;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionFunctionTool;
import com.openai.models.chat.completions.ChatCompletionMessageFunctionToolCall;
import com.openai.models.chat.completions.ChatCompletionToolChoiceOption;
import dev.baton.http.HttpServerConfig;
import dev.baton.serving.Instance.Answer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/// Calls of tools through the server: whole and streamed, with plain HTTP and with the official client. The model
/// says what the conversation tells it to.
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ToolCallTest {
    private static final String PATH = "/v1/chat/completions";
    private static final String TWO_CALLS =
            "I look. <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Zürich 😀\"}}</tool_call>"
                    + "<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>";
    private static final String TOOLS = """
            [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object",
              "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
             {"type": "function", "function": {"name": "time"}}]""";

    @TempDir
    static Path directory;

    @TempDir
    static Path other;

    @TempDir
    static Path third;

    private Instance instance;
    private Instance withoutParser;
    private Instance pythonic;
    private OpenAIClient client;

    @BeforeAll
    void start() {
        instance = Instance.start(
                directory,
                config -> config.toolCallParser(Optional.of("hermes")).enableAutoToolChoice(true));
        withoutParser = Instance.start(other);
        pythonic = Instance.start(
                third, config -> config.toolCallParser(Optional.of("pythonic")).enableAutoToolChoice(true));
        client = OpenAIOkHttpClient.builder()
                .baseUrl(instance.uri("/v1").toString())
                .apiKey("none")
                .maxRetries(0)
                .build();
    }

    @AfterAll
    void stop() {
        if (client != null) {
            client.close();
        }
        if (instance != null) {
            instance.close();
        }
        if (pythonic != null) {
            pythonic.close();
        }
        if (withoutParser != null) {
            withoutParser.close();
        }
    }

    /// A message that makes the model say this: it repeats the first line of the prompt from its 13th character on.
    private static String saying(String output) {
        return "......" + output + "\u0004\n";
    }

    private static String body(String output, String more) {
        return "{\"model\": \"tiny\", \"temperature\": 0, \"tools\": " + TOOLS + ", \"messages\": [{\"role\": \"user\","
                + " \"content\": " + Instance.JSON.writeValueAsString(saying(output)) + "}]" + more + "}";
    }

    private JsonNode whole(String output, String more) {
        return choice(instance, output, more);
    }

    private static JsonNode choice(Instance server, String output, String more) {
        Answer answer = server.post(PATH, body(output, more));
        assertThat(answer.status()).as(answer.body()).isEqualTo(200);
        return answer.json().path("choices").path(0);
    }

    private List<JsonNode> streamed(String output, String more) {
        return streamed(instance, output, more);
    }

    private static List<JsonNode> streamed(Instance server, String output, String more) {
        Answer answer = server.post(PATH, body(output, ", \"stream\": true" + more));
        assertThat(answer.body()).endsWith("data: [DONE]\n\n");
        return answer.events().stream()
                .map(event -> event.path("choices").path(0))
                .toList();
    }

    @Test
    void callsInARepeatedMessageAreNoneOfTheAnswer() {
        String last = "So <tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call> and";
        String body = "{\"temperature\": 0, \"max_tokens\": 5, \"tools\": " + TOOLS
                + ", \"echo\": true, \"continue_final_message\": true, \"add_generation_prompt\": false, \"messages\":"
                + " [{\"role\": \"user\", \"content\": \"a\\n\"}, {\"role\": \"assistant\", \"content\": "
                + Instance.JSON.writeValueAsString(last) + "}], \"stream\": ";
        JsonNode choice =
                instance.post(PATH, body + "false}").json().path("choices").path(0);
        assertThat(choice.path("message").path("content").stringValue())
                .startsWith(last)
                .hasSizeGreaterThan(last.length());
        assertThat(choice.path("message").path("tool_calls")).isEmpty();
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("length");
        List<JsonNode> chunks = instance.post(PATH, body + "true}").events().stream()
                .map(event -> event.path("choices").path(0))
                .toList();
        assertThat(joined(chunks, "content"))
                .isEqualTo(choice.path("message").path("content").stringValue());
        assertThat(joined(chunks, "tool_calls", "0", "function", "name")).isEmpty();
    }

    private static String joined(List<JsonNode> chunks, String... path) {
        StringBuilder text = new StringBuilder();
        for (JsonNode chunk : chunks) {
            JsonNode node = chunk.path("delta");
            for (String step : path) {
                node = step.chars().allMatch(Character::isDigit) ? node.path(Integer.parseInt(step)) : node.path(step);
            }
            text.append(node.asString(""));
        }
        return text.toString();
    }

    @Test
    void wholeAnswerHasContentAndCalls() {
        JsonNode choice = whole(TWO_CALLS, "");
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("tool_calls");
        JsonNode message = choice.path("message");
        assertThat(message.path("content").stringValue()).isEqualTo("I look. ");
        JsonNode calls = message.path("tool_calls");
        assertThat(calls).hasSize(2);
        assertThat(calls.path(0).path("id").stringValue()).matches("chatcmpl-tool-[0-9a-f]{16}");
        assertThat(calls.path(0).path("type").stringValue()).isEqualTo("function");
        assertThat(calls.path(0).path("function").path("name").stringValue()).isEqualTo("weather");
        assertThat(calls.path(0).path("function").path("arguments").stringValue())
                .isEqualTo("{\"city\": \"Zürich 😀\"}");
        assertThat(calls.path(1).path("function").path("arguments").stringValue())
                .isEqualTo("{}");
    }

    @Test
    void messageThatIsACallHasNoContent() {
        JsonNode message = whole("<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>", "")
                .path("message");
        assertThat(message.path("content").isNull()).isTrue();
        assertThat(message.path("tool_calls")).hasSize(1);
    }

    @Test
    void streamNamesACallOnceAndCutsItsArguments() {
        List<JsonNode> chunks = streamed(TWO_CALLS, "");
        assertThat(joined(chunks, "content")).isEqualTo("I look. ");
        List<JsonNode> parts = chunks.stream()
                .map(chunk -> chunk.path("delta").path("tool_calls"))
                .filter(JsonNode::isArray)
                .flatMap(array -> Stream.of(array.path(0)))
                .toList();
        JsonNode first = parts.getFirst();
        assertThat(first.path("index").intValue()).isZero();
        assertThat(first.path("id").stringValue()).matches("chatcmpl-tool-[0-9a-f]{16}");
        assertThat(first.path("type").stringValue()).isEqualTo("function");
        assertThat(first.path("function").path("name").stringValue()).isEqualTo("weather");
        for (int call = 0; call < 2; call++) {
            int index = call;
            List<JsonNode> own = parts.stream()
                    .filter(part -> part.path("index").intValue() == index)
                    .toList();
            assertThat(own.stream().filter(part -> part.has("id"))).hasSize(1);
            StringBuilder arguments = new StringBuilder();
            own.forEach(part ->
                    arguments.append(part.path("function").path("arguments").asString("")));
            assertThat(arguments.toString()).isEqualTo(call == 0 ? "{\"city\": \"Zürich 😀\"}" : "{}");
        }
        assertThat(parts.size()).isGreaterThan(10); // as they come, not all at the end
        assertThat(chunks.getLast().path("finish_reason").stringValue()).isEqualTo("tool_calls");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "just text",
                "<tool_call>{\"name\": \"weather\", \"arguments\": nonsense}</tool_call>",
                "<tool_call>{\"name\": \"weather\"}</tool_call>",
                "1 <tool_ca"
            })
    void whatIsNoCallIsContent(String output) {
        JsonNode choice = whole(output, "");
        assertThat(choice.path("message").path("content").stringValue()).isEqualTo(output);
        assertThat(choice.path("message").has("tool_calls")).isFalse();
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("stop");
    }

    @Test
    void callThatIsCutOffIsContent() {
        JsonNode choice = whole(TWO_CALLS, ", \"max_tokens\": 40");
        assertThat(choice.path("message").path("content").stringValue()).isEqualTo(TWO_CALLS.substring(0, 40));
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("length");
        List<JsonNode> chunks = streamed(TWO_CALLS, ", \"max_tokens\": 30");
        assertThat(joined(chunks, "content")).isEqualTo(TWO_CALLS.substring(0, 30));
        assertThat(chunks.getLast().path("finish_reason").stringValue()).isEqualTo("length");
    }

    @Test
    void withoutParallelCallsOnlyTheFirstIsGivenOut() {
        assertThat(whole(TWO_CALLS, ", \"parallel_tool_calls\": false")
                        .path("message")
                        .path("tool_calls"))
                .hasSize(1);
        assertThat(streamed(TWO_CALLS, ", \"parallel_tool_calls\": false"))
                .noneMatch(chunk -> chunk.path("delta")
                                .path("tool_calls")
                                .path(0)
                                .path("index")
                                .asInt(0)
                        > 0);
    }

    @Test
    void choiceNoneLeavesTheTextAlone() {
        JsonNode choice = whole(TWO_CALLS, ", \"tool_choice\": \"none\"");
        assertThat(choice.path("message").path("content").stringValue()).isEqualTo(TWO_CALLS);
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("stop");
        assertThat(joined(streamed(TWO_CALLS, ", \"tool_choice\": \"none\""), "content"))
                .isEqualTo(TWO_CALLS);
    }

    private static final String REQUIRED = ", \"tool_choice\": \"required\"";
    private static final String NAMED =
            ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"weather\"}}";

    private void requireUlm(Instance server, String output, String choose, String reason) {
        JsonNode choice = choice(server, output, choose);
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo(reason);
        JsonNode call = choice.path("message").path("tool_calls").path(0);
        assertThat(call.path("function").path("name").stringValue()).isEqualTo("weather");
        assertThat(call.path("function").path("arguments").stringValue()).isEqualTo("{\"city\": \"Ulm\"}");
        List<JsonNode> chunks = streamed(server, output, choose);
        assertThat(joined(chunks, "content")).isEmpty();
        assertThat(joined(chunks, "tool_calls", "0", "function", "arguments")).isEqualTo("{\"city\": \"Ulm\"}");
        assertThat(joined(chunks, "tool_calls", "0", "function", "name")).isEqualTo("weather");
        assertThat(chunks.getLast().path("finish_reason").stringValue()).isEqualTo(reason);
    }

    @Test
    void requiredCallIsWrittenInTheModelsOwnFormat() {
        String output = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>";
        requireUlm(instance, output, REQUIRED, "tool_calls");
        requireUlm(instance, output, NAMED, "stop");
    }

    @Test
    void requiredCallOfAFormatThatIsNotJsonIsAnArray() {
        requireUlm(pythonic, "[{\"name\": \"weather\", \"parameters\": {\"city\": \"Ulm\"}}]", REQUIRED, "tool_calls");
        requireUlm(pythonic, "{\"city\": \"Ulm\"}", NAMED, "stop");
    }

    /// What the model would rather say is masked.
    @ParameterizedTest
    @ValueSource(strings = {REQUIRED, NAMED})
    void aCallThatMustComeComes(String choose) {
        JsonNode choice = whole("I would rather not.", choose + ", \"max_tokens\": 800");
        assertThat(choice.path("message").path("tool_calls").size())
                .as(choice.toString())
                .isPositive();
    }

    @Test
    void callThatMustComeAndIsCutOffIsContent() {
        JsonNode choice = whole("no", NAMED + ", \"max_tokens\": 30");
        assertThat(choice.path("message").path("content").stringValue()).startsWith("<tool_call>");
        assertThat(choice.path("message").has("tool_calls")).isFalse();
        assertThat(choice.path("finish_reason").stringValue()).isEqualTo("length");
    }

    @Test
    void schemaThatCannotBeIsRefused() {
        Answer answer =
                instance.post(PATH, body("x", REQUIRED).replace("\"type\": \"string\"", "\"type\": \"nothing\""));
        assertThat(answer.status()).as(answer.body()).isEqualTo(400);
    }

    @Test
    void logprobsOfTokensThatAreHeldBackAreSent() {
        List<JsonNode> chunks = streamed(TWO_CALLS, ", \"logprobs\": true");
        long tokens = chunks.stream()
                .mapToLong(chunk -> chunk.path("logprobs").path("content").size())
                .sum();
        assertThat(tokens).isEqualTo(TWO_CALLS.getBytes(StandardCharsets.UTF_8).length + 1);
    }

    @Test
    void choicesAreParsedApart() {
        Answer answer = instance.post(
                PATH,
                body(TWO_CALLS, ", \"n\": 2, \"seed\": 1").replace("\"temperature\": 0,", "\"temperature\": 0.01,"));
        assertThat(answer.json().path("choices"))
                .hasSize(2)
                .allSatisfy(choice ->
                        assertThat(choice.path("message").path("tool_calls")).hasSize(2));
    }

    /// Messages of vLLM 0.32.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '~', textBlock = """
            "tools": []                                      | tools       | `tools` must not be an empty array. Either provide at least one tool or omit the field entirely. (parameter=tools)
            "tool_choice": "auto"                            | tool_choice | When using `tool_choice`, `tools` must be set. (parameter=tool_choice)
            "tools": [@], "tool_choice": "sometimes"         | tool_choice | Invalid value for `tool_choice`: sometimes! Only named tools, "none", "auto" or "required" are supported. (parameter=tool_choice)
            "tools": [@], "tool_choice": 5                   | tool_choice | Invalid value for `tool_choice`: 5! Only named tools, "none", "auto" or "required" are supported. (parameter=tool_choice)
            "tools": [@], "tool_choice": {"type":"function"} | tool_choice.function | Invalid value for `function`: `None` in `tool_choice`! Correct usage: `{"type": "function", "function": {"name": "my_function"}}` (parameter=tool_choice.function)
            "tools": [@], "tool_choice": {"function": {}}    | tool_choice.function.name | Expected field `name` in `function` in `tool_choice`! Correct usage: `{"type": "function", "function": {"name": "my_function"}}` (parameter=tool_choice.function.name)
            "tools": [@], "tool_choice": {"function": {"name": ""}} | tool_choice.function.name | Invalid `name` in `function`: `` in `tool_choice`! Correct usage: `{"type": "function", "function": {"name": "my_function"}}` (parameter=tool_choice.function.name)
            "tools": [@], "tool_choice": {"function": {"name": "g"}} | tool_choice | The tool specified in `tool_choice` does not match any of the specified `tools` (parameter=tool_choice)
            "tools": {"a": 1}                                | body.tools  | 1 validation error:\\n  {'type': 'list_type', 'loc': 'body.tools', 'msg': 'Input should be a valid list', 'input': '<dict of 1 items>'}
            "tools": [{"type": "function"}]                  | body.tools.0.function | 1 validation error:\\n  {'type': 'missing', 'loc': 'body.tools.0.function', 'msg': 'Field required', 'input': '<dict of 1 items>'}
            "tools": [{"function": {}}]                      | body.tools.0.function.name | 1 validation error:\\n  {'type': 'missing', 'loc': 'body.tools.0.function.name', 'msg': 'Field required', 'input': '<dict of 0 items>'}
            "tools": [{"type": "x", "function": {"name": "f"}}] | body.tools.0.type | 1 validation error:\\n  {'type': 'literal_error', 'loc': 'body.tools.0.type', 'msg': "Input should be 'function'", 'input': 'x'}
            "tools": [@], "parallel_tool_calls": "x"         | body.parallel_tool_calls | 1 validation error:\\n  {'type': 'bool_parsing', 'loc': 'body.parallel_tool_calls', 'msg': 'Input should be a valid boolean, unable to interpret input', 'input': 'x'}
            """)
    void badToolsAreAnsweredAsVllmDoes(String fields, String param, String message) {
        String tool = "{\"type\": \"function\", \"function\": {\"name\": \"f\"}}";
        Answer answer = instance.post(
                PATH,
                "{\"model\": \"tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}], "
                        + fields.replace("@", tool) + "}");
        assertThat(answer.status()).as(answer.body()).isEqualTo(400);
        assertThat(answer.json().path("error").path("message").stringValue()).isEqualTo(message.replace("\\n", "\n"));
        assertThat(answer.json().path("error").path("param").stringValue()).isEqualTo(param);
    }

    static Stream<List<String>> choices() {
        return Stream.of(
                List.of("", "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"),
                List.of(
                        ", \"tool_choice\": \"required\"",
                        "tool_choice=\"required\" requires --tool-call-parser to be set"),
                List.of(
                        ", \"tool_choice\": {\"function\": {\"name\": \"time\"}}",
                        "tool_choice=function \"time\" requires --tool-call-parser to be set"));
    }

    @ParameterizedTest
    @MethodSource("choices")
    void callsNeedAParser(List<String> choiceAndMessage) {
        Answer answer = withoutParser.post(PATH, body("x", choiceAndMessage.getFirst()));
        assertThat(answer.status()).isEqualTo(400);
        assertThat(answer.json().path("error").path("message").stringValue()).isEqualTo(choiceAndMessage.getLast());
    }

    @ParameterizedTest
    @ValueSource(strings = {", \"tool_choice\": \"none\"", ", \"tool_choice\": null"})
    void toolsWithoutAChoiceNeedNoParser(String more) {
        Answer answer = withoutParser.post(PATH, body(TWO_CALLS, more));
        assertThat(answer.json()
                        .path("choices")
                        .path(0)
                        .path("message")
                        .path("content")
                        .stringValue())
                .isEqualTo(TWO_CALLS);
    }

    @Test
    void settingsThatDoNotFitAreRefused() {
        EngineServerConfig.Builder config =
                EngineServerConfig.builder(HttpServerConfig.of("127.0.0.1", 0), "tiny", 258);
        assertThatThrownBy(() -> config.enableAutoToolChoice(true).build())
                .hasMessage("--enable-auto-tool-choice requires --tool-call-parser");
        assertThatThrownBy(() -> config.toolCallParser(Optional.of("hermess")).build())
                .hasMessageContaining("hermess")
                .hasMessageContaining("hermes, llama3_json");
    }

    private static ChatCompletionCreateParams.Builder chat(String output) {
        return ChatCompletionCreateParams.builder()
                .model("tiny")
                .addUserMessage(saying(output))
                .temperature(0)
                .addTool(ChatCompletionFunctionTool.builder()
                        .function(FunctionDefinition.builder()
                                .name("weather")
                                .parameters(FunctionParameters.builder()
                                        .putAdditionalProperty("type", JsonValue.from("object"))
                                        .putAdditionalProperty(
                                                "properties", JsonValue.from(Map.of("city", Map.of("type", "string"))))
                                        .build())
                                .build())
                        .build());
    }

    private static void requireBothCalls(ChatCompletion answer) {
        ChatCompletion.Choice choice = answer.choices().getFirst();
        assertThat(choice.finishReason()).isEqualTo(ChatCompletion.Choice.FinishReason.TOOL_CALLS);
        assertThat(choice.message().content()).contains("I look. ");
        List<ChatCompletionMessageFunctionToolCall> calls = choice.message().toolCalls().orElseThrow().stream()
                .map(call -> call.asFunction())
                .toList();
        assertThat(calls).extracting(call -> call.function().name()).containsExactly("weather", "time");
        assertThat(calls)
                .extracting(call -> call.function().arguments())
                .containsExactly("{\"city\": \"Zürich 😀\"}", "{}");
        assertThat(calls.getFirst().id()).isNotEqualTo(calls.getLast().id());
    }

    @Test
    void officialClientReadsCalls() {
        requireBothCalls(client.chat().completions().create(chat(TWO_CALLS).build()));
    }

    @Test
    void officialClientPutsStreamedCallsTogether() {
        ChatCompletionAccumulator accumulator = ChatCompletionAccumulator.create();
        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(chat(TWO_CALLS).build())) {
            stream.stream().forEach(accumulator::accumulate);
        }
        requireBothCalls(accumulator.chatCompletion());
    }

    @Test
    void officialClientRequiresACall() {
        ChatCompletion answer = client.chat()
                .completions()
                .create(chat("<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>")
                        .toolChoice(ChatCompletionToolChoiceOption.ofAuto(ChatCompletionToolChoiceOption.Auto.REQUIRED))
                        .build());
        assertThat(answer.choices().getFirst().message().toolCalls().orElseThrow())
                .hasSize(1);
    }
}
