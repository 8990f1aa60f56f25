package dev.baton.serving.tools;

import dev.baton.openai.StructuredOutput;
import dev.baton.openai.Tool;
import java.util.List;
import java.util.function.Function;

/// How a family of models writes tool calls.
///
/// @param keepsSpecialTokens whether the markers may be special tokens, which must then stay in the text
/// @param ids how calls are named
/// @param parser makes the parser of one output; the tools are those of the request
/// @param tags the ways to write a call of one tool; none if the format is not JSON between fixed texts, and then
///     calls that must come are written as an array of JSON objects instead
public record ToolFormat(
        boolean keepsSpecialTokens,
        ToolCallIds ids,
        Function<List<Tool>, ToolParser> parser,
        Function<Tool, List<StructuredOutput.Tag>> tags) {

    static ToolFormat of(Function<List<Tool>, ToolParser> parser) {
        return new ToolFormat(false, ToolCallIds.RANDOM, parser, tool -> List.of());
    }

    ToolFormat keepingSpecialTokens() {
        return new ToolFormat(true, ids, parser, tags);
    }

    ToolFormat with(ToolCallIds other) {
        return new ToolFormat(keepsSpecialTokens, other, parser, tags);
    }

    ToolFormat with(Function<Tool, List<StructuredOutput.Tag>> other) {
        return new ToolFormat(keepsSpecialTokens, ids, parser, other);
    }
}
