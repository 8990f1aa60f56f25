package dev.baton.serving.tools;

import dev.baton.openai.StructuredOutput;
import dev.baton.openai.Tool;
import java.util.List;

/// `deepseek_v3` and `deepseek_v31`: behind `<｜tool▁calls▁begin｜>` each call stands between
/// `<｜tool▁call▁begin｜>` and `<｜tool▁call▁end｜>`: `function<｜tool▁sep｜>name`, then the arguments in a fenced
/// block of JSON (V3, R1), or `name<｜tool▁sep｜>` and the arguments (V3.1). Text before is content, text between
/// and behind is left out.
final class DeepSeekToolParser extends SteppedToolParser {
    private static final String CALLS = "<｜tool▁calls▁begin｜>";
    private static final String CALL = "<｜tool▁call▁begin｜>";
    private static final String SEPARATOR = "<｜tool▁sep｜>";
    private static final String CALL_END = "<｜tool▁call▁end｜>";
    private static final String CALLS_END = "<｜tool▁calls▁end｜>";
    private static final String FENCE = "\n```json\n";

    private enum State {
        CONTENT,
        BETWEEN,
        HEAD,
        ARGUMENTS,
        BROKEN_CALL
    }

    private final boolean fenced;
    private final StringBuilder held = new StringBuilder();
    private final StringBuilder name = new StringBuilder();
    private State state = State.CONTENT;
    private boolean typeRead;
    private ArgumentsReader arguments = new ArgumentsReader();

    static List<StructuredOutput.Tag> tags(Tool tool, boolean fenced) {
        String begin = CALLS + CALL + (fenced ? "function" + SEPARATOR + tool.name() + FENCE : tool.name() + SEPARATOR);
        return List.of(new StructuredOutput.Tag(
                begin, ToolSchemas.arguments(tool), (fenced ? "\n```" : "") + CALL_END + CALLS_END));
    }

    /// @param fenced whether calls name their type and fence their arguments
    DeepSeekToolParser(boolean fenced) {
        this.fenced = fenced;
    }

    @Override
    boolean step(ToolCallSink sink) {
        return switch (state) {
            case CONTENT -> content(sink);
            case BETWEEN -> between();
            case HEAD -> head(sink);
            case ARGUMENTS -> arguments(sink);
            case BROKEN_CALL -> broken(sink);
        };
    }

    @Override
    public void finish(ToolCallSink sink) {
        switch (state) {
            case CONTENT -> sink.content(text.takeAll());
            case BETWEEN -> {}
            case HEAD -> {
                sink.malformed();
                sink.content(held + text.takeAll());
            }
            case ARGUMENTS -> sink.end(arguments.endsHere());
            case BROKEN_CALL -> {
                sink.arguments(text.takeAll());
                sink.end(false);
            }
        }
    }

    private boolean content(ToolCallSink sink) {
        TextWindow.Found found = text.takeBefore(sink::content, CALLS);
        if (found.marker().isEmpty()) {
            return false;
        }
        text.take(CALLS.length());
        state = State.BETWEEN;
        return true;
    }

    private boolean between() {
        TextWindow.Found found = text.find(CALL);
        text.take(found.at());
        if (found.marker().isEmpty()) {
            return false;
        }
        held.setLength(0);
        held.append(text.take(CALL.length()));
        name.setLength(0);
        typeRead = false;
        state = State.HEAD;
        return true;
    }

    private boolean head(ToolCallSink sink) {
        String end = fenced && typeRead ? FENCE : SEPARATOR;
        TextWindow.Found found = text.find(end, CALL_END);
        String part = text.take(found.at());
        name.append(part);
        held.append(part);
        if (found.marker().isEmpty()) {
            return false;
        }
        held.append(text.take(found.marker().length()));
        if (fenced && !typeRead && found.marker().equals(SEPARATOR)) {
            typeRead = true;
            name.setLength(0);
            return true;
        }
        String called = name.toString().strip();
        if (found.marker().equals(CALL_END) || called.isEmpty()) {
            sink.malformed();
            sink.content(held);
            state = State.CONTENT;
            return true;
        }
        sink.begin(called);
        arguments = new ArgumentsReader();
        state = State.ARGUMENTS;
        return true;
    }

    private boolean arguments(ToolCallSink sink) {
        switch (arguments.read(text, sink)) {
            case MORE -> {
                return false;
            }
            case END -> {
                sink.end(true);
                state = State.BETWEEN;
            }
            case BAD -> state = State.BROKEN_CALL;
        }
        return true;
    }

    private boolean broken(ToolCallSink sink) {
        TextWindow.Found found = text.takeBefore(sink::arguments, CALL_END);
        if (found.marker().isEmpty()) {
            return false;
        }
        sink.end(false);
        state = State.BETWEEN;
        return true;
    }
}
