package dev.baton.serving.tools;

import dev.baton.openai.Tool;
import java.util.List;

/// `qwen3_coder` and `qwen3_xml`:
/// `<tool_call><function=name><parameter=key>value</parameter>...</function></tool_call>`. Values are written
/// without quotes; the function's schema says what they are. An argument is given out once it is complete. Text
/// before the first call is content, text between and behind calls is left out.
final class QwenXmlToolParser extends SteppedToolParser {
    private static final String BEGIN = "<tool_call>";
    private static final String END = "</tool_call>";
    private static final String FUNCTION = "<function=";
    private static final String FUNCTION_END = "</function>";
    private static final String PARAMETER = "<parameter=";
    private static final String PARAMETER_END = "</parameter>";

    private enum State {
        CONTENT,
        PREAMBLE,
        NAME,
        PARAMETERS,
        KEY,
        VALUE,
        AFTER
    }

    private final List<Tool> tools;
    private final StringBuilder held = new StringBuilder();
    private final StringBuilder part = new StringBuilder();
    private State state = State.CONTENT;
    private String name = "";
    private String key = "";
    private boolean hasArguments;

    QwenXmlToolParser(List<Tool> tools) {
        this.tools = tools;
    }

    @Override
    boolean step(ToolCallSink sink) {
        return switch (state) {
            case CONTENT -> content(sink);
            case PREAMBLE -> preamble(sink);
            case NAME -> name(sink);
            case PARAMETERS -> parameters(sink);
            case KEY -> key();
            case VALUE -> value(sink);
            case AFTER -> after();
        };
    }

    @Override
    public void finish(ToolCallSink sink) {
        switch (state) {
            case CONTENT -> sink.content(text.takeAll());
            case PREAMBLE, NAME -> {
                sink.malformed();
                sink.content(held + text.takeAll());
            }
            case PARAMETERS, KEY, VALUE -> sink.end(false);
            case AFTER -> {}
        }
    }

    private boolean content(ToolCallSink sink) {
        TextWindow.Found found = text.takeBefore(sink::content, BEGIN, FUNCTION);
        if (found.marker().isEmpty()) {
            return false;
        }
        held.setLength(0);
        held.append(text.take(found.marker().length()));
        begin(found.marker());
        return true;
    }

    private void begin(String marker) {
        part.setLength(0);
        state = marker.equals(BEGIN) ? State.PREAMBLE : State.NAME;
    }

    private boolean preamble(ToolCallSink sink) {
        TextWindow.Found found = text.find(FUNCTION, END);
        held.append(text.take(found.at()));
        if (found.marker().isEmpty()) {
            return false;
        }
        held.append(text.take(found.marker().length()));
        if (found.marker().equals(END)) {
            sink.malformed();
            sink.content(held);
            state = State.CONTENT;
        } else {
            begin(FUNCTION);
        }
        return true;
    }

    private boolean name(ToolCallSink sink) {
        TextWindow.Found found = text.find(">", FUNCTION_END);
        String more = text.take(found.at());
        part.append(more);
        held.append(more);
        if (found.marker().isEmpty()) {
            return false;
        }
        held.append(text.take(found.marker().length()));
        name = part.toString().strip();
        if (name.isEmpty() || found.marker().equals(FUNCTION_END)) {
            sink.malformed();
            sink.content(held);
            state = State.CONTENT;
            return true;
        }
        hasArguments = false;
        sink.begin(name);
        state = State.PARAMETERS;
        return true;
    }

    private boolean parameters(ToolCallSink sink) {
        TextWindow.Found found = text.find(PARAMETER, FUNCTION_END, END);
        text.take(found.at());
        if (found.marker().isEmpty()) {
            return false;
        }
        text.take(found.marker().length());
        if (found.marker().equals(PARAMETER)) {
            part.setLength(0);
            state = State.KEY;
        } else {
            sink.arguments(hasArguments ? "}" : "{}");
            sink.end(true);
            state = State.AFTER;
        }
        return true;
    }

    private boolean key() {
        TextWindow.Found found = text.find(">");
        part.append(text.take(found.at()));
        if (found.marker().isEmpty()) {
            return false;
        }
        text.take(1);
        key = part.toString().strip();
        part.setLength(0);
        state = State.VALUE;
        return true;
    }

    private boolean value(ToolCallSink sink) {
        TextWindow.Found found = text.find(PARAMETER_END, PARAMETER, FUNCTION_END);
        part.append(text.take(found.at()));
        if (found.marker().isEmpty()) {
            return false;
        }
        if (found.marker().equals(PARAMETER_END)) {
            text.take(PARAMETER_END.length());
        }
        String said = withoutWrappingNewlines(part.toString());
        sink.arguments((hasArguments ? ", " : "{") + SchemaTypes.member(tools, name, key, said));
        hasArguments = true;
        state = State.PARAMETERS;
        return true;
    }

    private boolean after() {
        TextWindow.Found found = text.find(BEGIN, FUNCTION);
        text.take(found.at());
        if (found.marker().isEmpty()) {
            return false;
        }
        held.setLength(0);
        held.append(text.take(found.marker().length()));
        begin(found.marker());
        return true;
    }

    private static String withoutWrappingNewlines(String value) {
        String behind = value.startsWith("\n") ? value.substring(1) : value;
        return behind.endsWith("\n") ? behind.substring(0, behind.length() - 1) : behind;
    }
}
