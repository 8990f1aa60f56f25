package dev.baton.serving.tools;

/// `granite`, the format of Granite 3: `<|tool_call|>` (3.0) or `<tool_call>` (3.1), then an array of
/// `{"name": ..., "arguments": {...}}`. Text around it is content.
final class GraniteToolParser {
    private GraniteToolParser() {}

    static ToolParser create() {
        return new MarkedJsonCalls(
                JsonCallsReader.Shape.ARRAY, MarkedJsonCalls.Tail.CONTENT, "", "<|tool_call|>", "<tool_call>");
    }
}
