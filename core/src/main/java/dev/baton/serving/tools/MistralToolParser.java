package dev.baton.serving.tools;

/// `mistral`: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]` of the older tokenizers, and of the newer ones
/// `[TOOL_CALLS]name{...}` or `[TOOL_CALLS]name[ARGS]{...}` for each call, perhaps with `[CALL_ID]...` before the
/// arguments. Text before the first call is content, text behind a call is left out.
final class MistralToolParser extends SteppedToolParser {
    private static final String MARKER = "[TOOL_CALLS]";
    private static final String ARGS = "[ARGS]";
    private static final String CALL_ID = "[CALL_ID]";

    private enum State {
        CONTENT,
        FIRST,
        ARRAY,
        NAME,
        ID,
        ARGUMENTS,
        BROKEN_CALL,
        TAIL
    }

    private final StringBuilder held = new StringBuilder();
    private final StringBuilder name = new StringBuilder();
    private State state = State.CONTENT;
    private JsonCallsReader reader = newReader();
    private ArgumentsReader arguments = new ArgumentsReader();

    private static JsonCallsReader newReader() {
        return new JsonCallsReader(JsonCallsReader.Shape.EITHER, true, true);
    }

    @Override
    boolean step(ToolCallSink sink) {
        return switch (state) {
            case CONTENT -> untilMarker(sink, true);
            case TAIL -> untilMarker(sink, false);
            case FIRST -> first();
            case ARRAY -> array(sink);
            case NAME -> name(sink);
            case ID -> id(sink);
            case ARGUMENTS -> arguments(sink);
            case BROKEN_CALL -> broken(sink);
        };
    }

    @Override
    public void finish(ToolCallSink sink) {
        switch (state) {
            case CONTENT -> sink.content(text.takeAll());
            case TAIL -> {}
            case ARRAY -> reader.finish(held.toString(), sink);
            case FIRST, NAME, ID -> refuse(text.takeAll(), sink);
            case ARGUMENTS -> sink.end(arguments.endsHere());
            case BROKEN_CALL -> {
                sink.arguments(text.takeAll());
                sink.end(false);
            }
        }
    }

    private boolean untilMarker(ToolCallSink sink, boolean shown) {
        TextWindow.Found found = text.takeBefore(shown ? sink::content : left -> {}, MARKER);
        if (found.marker().isEmpty()) {
            return false;
        }
        held.setLength(0);
        held.append(text.take(MARKER.length()));
        name.setLength(0);
        state = State.FIRST;
        return true;
    }

    /// The first character behind the marker tells the old form from the new one.
    private boolean first() {
        if (!text.skipSpace()) {
            return false;
        }
        TextWindow.Found again = text.find(MARKER);
        if (again.at() == 0) { // a repeated marker counts once, and a bracket alone may begin one
            text.take(again.marker().length());
            return !again.marker().isEmpty();
        }
        if (text.peek() == '[' || text.peek() == '{') {
            reader = newReader();
            state = State.ARRAY;
        } else {
            state = State.NAME;
        }
        return true;
    }

    private boolean array(ToolCallSink sink) {
        switch (reader.read(text, sink)) {
            case MORE -> {
                return false;
            }
            case END -> state = State.TAIL;
            case BROKEN -> state = State.BROKEN_CALL;
            case REFUSED -> refuse(reader.held(), sink);
        }
        return true;
    }

    private boolean name(ToolCallSink sink) {
        TextWindow.Found found = text.find(ARGS, CALL_ID, "{", MARKER);
        String part = text.take(found.at());
        name.append(part);
        held.append(part);
        switch (found.marker()) {
            case "" -> {
                return false;
            }
            case MARKER -> refuse("", sink);
            case CALL_ID -> {
                held.append(text.take(CALL_ID.length()));
                state = State.ID;
            }
            default -> beginArguments(found.marker(), sink);
        }
        return true;
    }

    private boolean id(ToolCallSink sink) {
        TextWindow.Found found = text.find(ARGS, "{", MARKER);
        held.append(text.take(found.at()));
        switch (found.marker()) {
            case "" -> {
                return false;
            }
            case MARKER -> refuse("", sink);
            default -> beginArguments(found.marker(), sink);
        }
        return true;
    }

    private void beginArguments(String separator, ToolCallSink sink) {
        String called = name.toString().strip();
        if (called.isEmpty()) {
            refuse("", sink);
            return;
        }
        if (separator.equals(ARGS)) {
            text.take(ARGS.length());
        }
        sink.begin(called);
        arguments = new ArgumentsReader();
        state = State.ARGUMENTS;
    }

    private boolean arguments(ToolCallSink sink) {
        switch (arguments.read(text, sink)) {
            case MORE -> {
                return false;
            }
            case END -> {
                sink.end(true);
                state = State.TAIL;
            }
            case BAD -> state = State.BROKEN_CALL;
        }
        return true;
    }

    private boolean broken(ToolCallSink sink) {
        TextWindow.Found found = text.takeBefore(sink::arguments, MARKER);
        if (found.marker().isEmpty()) {
            return false;
        }
        sink.end(false);
        state = State.TAIL;
        return true;
    }

    private void refuse(String more, ToolCallSink sink) {
        sink.malformed();
        sink.content(held + more);
        held.setLength(0);
        state = State.CONTENT;
    }
}
