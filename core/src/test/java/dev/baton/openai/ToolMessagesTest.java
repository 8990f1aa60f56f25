package dev.baton.openai;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tokenizer.ChatTemplate;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

/// What chat templates see of tools and of earlier calls.
class ToolMessagesTest {
    private static final JsonMapper JSON = new JsonMapper();
    private static final ChatTemplate TEMPLATE = ChatTemplate.compile(
            "{% for tool in tools or [] %}{{ tool | tojson }};{% endfor %}{% for m in messages %}<{{ m.role }}>"
                    + "{{ m.content }}{% for call in m.tool_calls or [] %}[{{ call.function.name }}"
                    + " {{ call.function.arguments | tojson }}{% for key in call.function.arguments %} {{ key }}"
                    + "{% endfor %}]{% endfor %}{% if m.tool_call_id is defined %}({{ m.tool_call_id }}){% endif %}"
                    + "{% endfor %}",
            Map.of());

    private static String render(String body) {
        ChatInput chat = ChatCompletionRequest.parse(JSON.readTree(body)).chat();
        return TEMPLATE.render(chat.messages(), false, chat.templateFields());
    }

    private static String calls(String arguments) {
        return "{\"messages\": [{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"1\", \"type\":"
                + " \"function\", \"function\": {\"name\": \"f\"" + arguments + "}}]}]}";
    }

    @Test
    void toolsHaveNullForWhatTheRequestLeavesOut() {
        assertThat(render("""
                        {"messages": [{"role": "user", "content": "x"}], "tools": [
                          {"type": "function", "unknown": 1, "function": {"name": "f", "unknown": 2}},
                          {"function": {"parameters": {"type": "object", "x": null}, "strict": true,
                            "description": "d", "name": "g"}}]}"""))
                .isEqualTo("{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": null,"
                        + " \"parameters\": null}};{\"type\": \"function\", \"function\": {\"name\": \"g\","
                        + " \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"x\": null}, \"strict\":"
                        + " true}};<user>x");
    }

    @Test
    void nullStaysNullButForAFieldOfAMessage() {
        ChatInput chat = ChatCompletionRequest.parse(JSON.readTree("""
                        {"messages": [{"role": "user", "content": "x", "name": null, "extra": [null, {"a": null}]}],
                         "documents": [null, {"title": null}],
                         "chat_template_kwargs": {"enable_thinking": null, "list": [null]}}""")).chat();
        ChatTemplate template = ChatTemplate.compile(
                "{% for m in messages %}{{ m.name is defined }} {{ m.extra | tojson }}{% endfor %} {{ documents | tojson }}"
                        + " {{ enable_thinking is none }} {{ list | tojson }}",
                Map.of());
        assertThat(template.render(chat.messages(), false, chat.templateFields()))
                .isEqualTo("False [null, {\"a\": null}] [null, {\"title\": null}] True [null]");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '~', textBlock = """
            , "arguments": "{\\"a\\": [1, null], \\"é\\": {\\"b\\": \\"}\\"}}" | {"a": [1, null], "é": {"b": "}"}} a é
            , "arguments": {"a": 1}                                           | {"a": 1} a
            , "arguments": "{not json"                                        | {}
            , "arguments": "[1]"                                              | {}
            , "arguments": "5"                                                | {}
            , "arguments": ""                                                 | {}
            , "arguments": null                                               | {}
            ~~                                                                | {}
            """)
    void argumentsOfEarlierCallsAreObjects(String given, String seen) {
        assertThat(render(calls(given))).isEqualTo("<assistant>[f " + seen + "]");
    }

    @Test
    void resultsOfToolsKeepTheirCall() {
        assertThat(render("""
                        {"messages": [
                          {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sun"}]}]}""")).isEqualTo("<tool>sun(c1)");
    }

    @Test
    void emptyListOfCallsIsNone() {
        ChatInput chat = ChatCompletionRequest.parse(JSON.readTree(
                        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\", \"tool_calls\": []}]}"))
                .chat();
        assertThat(chat.messages().getFirst()).doesNotContainKey("tool_calls");
    }

    @ParameterizedTest
    @ValueSource(strings = {"[5]", "[{\"type\": \"custom\"}]", "[{\"type\": \"function\"}]"})
    void whatIsNoCallIsRefused(String calls) {
        assertThatThrownBy(() -> render("{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": " + calls + "}]}"))
                .isInstanceOf(ApiException.class)
                .hasMessageContaining("tool_calls");
    }
}
