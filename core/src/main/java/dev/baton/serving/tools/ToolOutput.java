package dev.baton.serving.tools;

import dev.baton.openai.ToolCall;
import dev.baton.openai.ToolCallDelta;
import java.util.ArrayList;
import java.util.List;

/// What a whole output says: content, and tool calls.
///
/// @param content empty if there is none
public record ToolOutput(String content, List<ToolCall> calls) {

    /// Parses an output. If a call in it is incomplete or malformed, all of it is content, as in vLLM: half a
    /// call is not to be executed.
    ///
    /// @param parallel whether more than the first call is taken
    public static ToolOutput parse(ToolParser parser, String text, ToolCallIds ids, boolean parallel) {
        ToolCallStream stream = new ToolCallStream(parser, ids, parallel);
        ToolCallStream.Delta whole = stream.accept(text, true);
        if (!stream.sound() || whole.calls().isEmpty()) {
            return new ToolOutput(text, List.of());
        }
        List<ToolCall> calls = new ArrayList<>();
        for (ToolCallDelta call : whole.calls()) {
            calls.add(new ToolCall(call.id().orElseThrow(), call.name().orElseThrow(), call.arguments()));
        }
        return new ToolOutput(whole.content(), calls);
    }
}
