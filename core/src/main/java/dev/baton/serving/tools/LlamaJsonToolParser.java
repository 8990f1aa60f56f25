package dev.baton.serving.tools;

import dev.baton.http.Json;
import dev.baton.openai.StructuredOutput;
import dev.baton.openai.Tool;
import java.util.List;

/// `llama3_json`, the format of Llama 3.1 to 4: objects `{"name": ..., "parameters": {...}}`, several separated
/// by `;`, perhaps behind `<|python_tag|>`. Nothing marks a call but its brace, so an object that is no call
/// makes all that follows content. Text before the first call is content, text between and behind calls is left
/// out.
final class LlamaJsonToolParser extends SteppedToolParser {
    private static final String TAG = "<|python_tag|>";
    private static final String OPEN = "{";

    private enum State {
        CONTENT,
        CALL,
        BETWEEN,
        BROKEN_CALL,
        PLAIN
    }

    private State state = State.CONTENT;
    private JsonCallsReader reader = newReader();

    static List<StructuredOutput.Tag> tags(Tool tool) {
        String call = "{\"name\": " + Json.text(tool.name()) + ", \"parameters\": ";
        return List.of(new StructuredOutput.Tag(call, ToolSchemas.arguments(tool), "}"));
    }

    private static JsonCallsReader newReader() {
        return new JsonCallsReader(JsonCallsReader.Shape.OBJECT, false, false);
    }

    @Override
    boolean step(ToolCallSink sink) {
        return switch (state) {
            case CONTENT -> untilObject(sink, true);
            case BETWEEN -> untilObject(sink, false);
            case CALL -> call(sink);
            case BROKEN_CALL -> {
                sink.arguments(text.takeAll());
                yield false;
            }
            case PLAIN -> {
                sink.content(text.takeAll());
                yield false;
            }
        };
    }

    @Override
    public void finish(ToolCallSink sink) {
        switch (state) {
            case CONTENT, PLAIN -> sink.content(text.takeAll());
            case BETWEEN -> {}
            case CALL -> reader.finish("", sink);
            case BROKEN_CALL -> sink.end(false);
        }
    }

    private boolean untilObject(ToolCallSink sink, boolean shown) {
        TextWindow.Found found = text.takeBefore(shown ? sink::content : left -> {}, TAG, OPEN);
        if (found.marker().equals(TAG)) {
            text.take(TAG.length());
            return true;
        }
        if (found.marker().isEmpty()) {
            return false;
        }
        reader = newReader();
        state = State.CALL;
        return true;
    }

    private boolean call(ToolCallSink sink) {
        switch (reader.read(text, sink)) {
            case MORE -> {
                return false;
            }
            case END -> state = State.BETWEEN;
            case BROKEN -> state = State.BROKEN_CALL;
            case REFUSED -> {
                sink.malformed();
                sink.content(reader.held());
                state = State.PLAIN;
            }
        }
        return true;
    }
}
