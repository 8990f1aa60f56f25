package dev.baton.openai;

import java.util.List;

/// What a choice says about tools.
///
/// @param parsed whether calls were looked for: then a message, or a part of one, may have no content
/// @param calls of a whole answer
/// @param deltas of one chunk of a stream
public record ToolParts(boolean parsed, List<ToolCall> calls, List<ToolCallDelta> deltas) {
    /// The output is content as it is.
    public static final ToolParts NONE = new ToolParts(false, List.of(), List.of());
}
