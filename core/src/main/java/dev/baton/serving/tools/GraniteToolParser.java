package dev.baton.serving.tools;

/// `granite`, the format of Granite 3: `<|tool_call|>` (3.0) or `<tool_call>` (3.1), then an array of
/// `{"name": ..., "arguments": {...}}`. Text before it is content,
/// text behind it is left out.
final class GraniteToolParser {
    private GraniteToolParser() {}

    static ToolParser create() {
        return new MarkedJsonCalls(JsonCallsReader.Shape.ARRAY, "", "<|tool_call|>", "<tool_call>");
    }
}
