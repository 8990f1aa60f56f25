package dev.baton.serving.tools;

import dev.baton.http.Json;
import dev.baton.openai.StructuredOutput;
import dev.baton.openai.Tool;
import java.util.List;

/// `hermes`, the format of Hermes 2 Pro, Qwen2.5 and Qwen3: `<tool_call>{"name": ..., "arguments":
/// {...}}</tool_call>` for each call. Text before the first call is content, text behind it is left out, as
/// vLLM does.
final class HermesToolParser {
    static final String BEGIN = "<tool_call>";
    static final String END = "</tool_call>";

    private HermesToolParser() {}

    static ToolParser create() {
        return new MarkedJsonCalls(JsonCallsReader.Shape.OBJECT, END, BEGIN);
    }

    /// With a line for the call, as the chat templates show it, or without.
    static List<StructuredOutput.Tag> tags(Tool tool) {
        String call = "{\"name\": " + Json.text(tool.name()) + ", \"arguments\": ";
        String schema = ToolSchemas.arguments(tool);
        return List.of(
                new StructuredOutput.Tag(BEGIN + "\n" + call, schema, "}\n" + END),
                new StructuredOutput.Tag(BEGIN + call, schema, "}" + END));
    }
}
