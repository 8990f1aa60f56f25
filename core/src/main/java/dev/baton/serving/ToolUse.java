package dev.baton.serving;

import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.StructuredOutput;
import dev.baton.openai.ToolChoice;
import dev.baton.openai.ToolOptions;
import dev.baton.serving.tools.ToolCallStream;
import dev.baton.serving.tools.ToolFormat;
import dev.baton.serving.tools.ToolOutput;
import dev.baton.serving.tools.ToolParser;
import dev.baton.serving.tools.ToolParsers;
import dev.baton.serving.tools.ToolSchemas;
import java.util.List;
import java.util.Optional;

/// How the tool calls of one request are found. Thread-safe; the parsers that it makes are for one sequence each.
///
/// @param format how the model writes calls
/// @param options never without tools, and never with the choice `none`
record ToolUse(ToolFormat format, ToolOptions options) {

    /// What is to be done for a request.
    ///
    /// @param format that of the server, if calls are enabled
    /// @return empty if no calls are looked for
    /// @throws ApiException if the request wants calls and the server is not set up for them
    static Optional<ToolUse> of(ToolOptions options, Optional<ToolFormat> format) {
        boolean wanted = !(options.choice() instanceof ToolChoice.None);
        if (wanted && format.isPresent()) {
            return Optional.of(new ToolUse(format.get(), options));
        }
        return switch (options.choice()) {
            case ToolChoice.None _, ToolChoice.Unset _ -> Optional.empty();
            case ToolChoice.Auto _ ->
                throw new ApiException(ApiError.badRequest(
                        "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"));
            case ToolChoice.Required _ -> throw parserNeeded("\"required\"");
            case ToolChoice.Named(String function) -> throw parserNeeded("function \"" + function + "\"");
        };
    }

    private static ApiException parserNeeded(String choice) {
        return new ApiException(
                ApiError.badRequest("tool_choice=" + choice + " requires --tool-call-parser to be set"));
    }

    /// Finds the calls of one sequence while it is generated.
    ToolCallStream stream() {
        return new ToolCallStream(parser(), format.ids(), options.parallel());
    }

    /// The calls of one sequence.
    ToolOutput parse(String text) {
        return ToolOutput.parse(parser(), text, format.ids(), options.parallel());
    }

    private ToolParser parser() {
        if (!demandsCall() || !tags().isEmpty()) {
            return format.parser().apply(options.tools());
        }
        return options.named().map(ToolParsers::forced).orElseGet(ToolParsers::required);
    }

    /// The request's options as calls of tools need them: a call that must come is brought about by a grammar,
    /// which goes before any other that the request asks for.
    GenerationOptions adjust(GenerationOptions given) {
        return given.forTools(format.keepsSpecialTokens(), demandsCall() ? Optional.of(demanded()) : Optional.empty());
    }

    private boolean demandsCall() {
        return options.choice() instanceof ToolChoice.Required || options.choice() instanceof ToolChoice.Named;
    }

    /// The ways to write a call that may come, in the model's own format.
    private List<StructuredOutput.Tag> tags() {
        return options.named().map(List::of).orElse(options.tools()).stream()
                .flatMap(tool -> format.tags().apply(tool).stream())
                .toList();
    }

    private StructuredOutput demanded() {
        List<StructuredOutput.Tag> tags = tags();
        if (!tags.isEmpty()) {
            return new StructuredOutput.Tagged(tags, options.named().isEmpty() && options.parallel());
        }
        String schema = options.named()
                .map(ToolSchemas::arguments)
                .orElseGet(() -> ToolSchemas.calls(options.tools(), options.parallel()));
        return new StructuredOutput.JsonSchema(schema, false);
    }

    /// What a sequence ended with, in the API's words. A call of a tool that the request has named is no reason to
    /// stop.
    ///
    /// @param called whether a tool was called
    String finishReason(String reason, boolean called) {
        boolean named = options.choice() instanceof ToolChoice.Named;
        return called && !named && reason.equals("stop") ? "tool_calls" : reason;
    }
}
