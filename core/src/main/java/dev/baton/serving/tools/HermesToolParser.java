package dev.baton.serving.tools;

/// `hermes`, the format of Hermes 2 Pro, Qwen2.5 and Qwen3: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`
/// for each call. Text before the first call is content, text behind it is left out, as vLLM does.
final class HermesToolParser {
    static final String BEGIN = "<tool_call>";
    static final String END = "</tool_call>";

    private HermesToolParser() {}

    static ToolParser create() {
        return new MarkedJsonCalls(JsonCallsReader.Shape.OBJECT, END, BEGIN);
    }
}
