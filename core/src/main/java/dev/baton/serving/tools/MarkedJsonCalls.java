package dev.baton.serving.tools;

/// What the formats share that write calls as JSON behind a marker: text up to the marker is content, calls stand
/// behind it, and what follows a call is left out. One thread.
final class MarkedJsonCalls extends SteppedToolParser {
    private enum State {
        CONTENT,
        CALLS,
        BROKEN_CALL,
        TAIL
    }

    private final String[] markers;
    private final String endMarker;
    private final JsonCallsReader.Shape shape;
    private State state = State.CONTENT;
    private String marker = "";
    private JsonCallsReader reader;

    /// @param endMarker ends a call that went wrong; empty if the format has none
    MarkedJsonCalls(JsonCallsReader.Shape shape, String endMarker, String... markers) {
        this.shape = shape;
        this.endMarker = endMarker;
        this.markers = markers;
        this.reader = newReader();
    }

    /// For output that is nothing but calls.
    static MarkedJsonCalls unmarked(JsonCallsReader.Shape shape) {
        MarkedJsonCalls parser = new MarkedJsonCalls(shape, "");
        parser.state = State.CALLS;
        return parser;
    }

    private JsonCallsReader newReader() {
        return new JsonCallsReader(shape, false, false);
    }

    @Override
    boolean step(ToolCallSink sink) {
        return switch (state) {
            case CONTENT -> untilMarker(sink, true);
            case TAIL -> untilMarker(sink, false);
            case CALLS -> calls(sink);
            case BROKEN_CALL -> broken(sink);
        };
    }

    @Override
    public void finish(ToolCallSink sink) {
        switch (state) {
            case CONTENT -> sink.content(text.takeAll());
            case TAIL -> {}
            case CALLS -> reader.finish(marker, sink);
            case BROKEN_CALL -> {
                sink.arguments(text.takeAll());
                sink.end(false);
            }
        }
    }

    private boolean untilMarker(ToolCallSink sink, boolean shown) {
        TextWindow.Found found = text.takeBefore(shown ? sink::content : left -> {}, markers);
        if (found.marker().isEmpty()) {
            return false;
        }
        marker = text.take(found.marker().length());
        reader = newReader();
        state = State.CALLS;
        return true;
    }

    private boolean calls(ToolCallSink sink) {
        switch (reader.read(text, sink)) {
            case MORE -> {
                return false;
            }
            case END -> state = State.TAIL;
            case BROKEN -> state = State.BROKEN_CALL;
            case REFUSED -> {
                sink.malformed();
                sink.content(marker + reader.held());
                state = State.CONTENT;
            }
        }
        return true;
    }

    /// The arguments are no JSON: they are given out as they are, so that nothing is lost or made up.
    private boolean broken(ToolCallSink sink) {
        if (endMarker.isEmpty()) {
            sink.arguments(text.takeAll());
            return false;
        }
        TextWindow.Found found = text.takeBefore(sink::arguments, endMarker);
        if (found.marker().isEmpty()) {
            return false;
        }
        text.take(endMarker.length());
        sink.end(false);
        state = State.TAIL;
        return true;
    }
}
