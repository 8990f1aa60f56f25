package dev.baton.serving.tools;

import dev.baton.openai.Tool;
import java.util.List;
import java.util.function.Function;

/// How a family of models writes tool calls.
///
/// @param keepsSpecialTokens whether the markers may be special tokens, which must then stay in the text
/// @param ids how calls are named
/// @param parser makes the parser of one output; the tools are those of the request
public record ToolFormat(boolean keepsSpecialTokens, ToolCallIds ids, Function<List<Tool>, ToolParser> parser) {
    static ToolFormat plain(Function<List<Tool>, ToolParser> parser) {
        return new ToolFormat(false, ToolCallIds.RANDOM, parser);
    }

    static ToolFormat withSpecialTokens(Function<List<Tool>, ToolParser> parser) {
        return new ToolFormat(true, ToolCallIds.RANDOM, parser);
    }

    static ToolFormat mistral(Function<List<Tool>, ToolParser> parser) {
        return new ToolFormat(true, ToolCallIds.MISTRAL, parser);
    }
}
