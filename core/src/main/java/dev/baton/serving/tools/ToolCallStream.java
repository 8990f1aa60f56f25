package dev.baton.serving.tools;

import dev.baton.openai.ToolCallDelta;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Turns the text of one output into what a client is sent, piece by piece: content, and the parts of tool calls.
///
/// White space before the first content is held back and left out if a call follows. One thread.
public final class ToolCallStream implements ToolCallSink {
    private final ToolParser parser;
    private final ToolCallIds ids;
    private final boolean parallel;
    private final StringBuilder content = new StringBuilder();
    private final List<ToolCallDelta> calls = new ArrayList<>();
    private boolean contentBegun;
    private int numCalls;
    private boolean sound = true;

    /// @param parallel whether more than the first call is given out (`parallel_tool_calls`)
    public ToolCallStream(ToolParser parser, ToolCallIds ids, boolean parallel) {
        this.parser = parser;
        this.ids = ids;
        this.parallel = parallel;
    }

    /// What a piece of text adds.
    ///
    /// @param calls at most one entry for each call
    public record Delta(String content, List<ToolCallDelta> calls) {
        public boolean isEmpty() {
            return content.isEmpty() && calls.isEmpty();
        }
    }

    /// Takes the next piece.
    ///
    /// @param last whether the output ends with it
    public Delta accept(String text, boolean last) {
        parser.accept(text, this);
        if (last) {
            parser.finish(this);
            if (numCalls == 0) {
                contentBegun = true; // white space is all there is
            }
        }
        String shown = contentBegun ? content.toString() : "";
        if (contentBegun) {
            content.setLength(0);
        }
        List<ToolCallDelta> parts = List.copyOf(calls);
        calls.clear();
        return new Delta(shown, parts);
    }

    /// How many calls have begun.
    public int numCalls() {
        return numCalls;
    }

    /// Whether every call so far is complete, and nothing looked like one and was none.
    boolean sound() {
        return sound;
    }

    @Override
    public void content(CharSequence text) {
        content.append(text);
        contentBegun |= !text.toString().isBlank();
    }

    @Override
    public void begin(String name) {
        if (!contentBegun) {
            content.setLength(0);
        }
        numCalls++;
        if (shown()) {
            calls.add(new ToolCallDelta(numCalls - 1, Optional.of(ids.next()), Optional.of(name), ""));
        }
    }

    @Override
    public void arguments(CharSequence json) {
        if (!shown() || json.isEmpty()) {
            return;
        }
        ToolCallDelta last = calls.isEmpty() ? null : calls.getLast();
        if (last != null && last.index() == numCalls - 1) {
            calls.set(
                    calls.size() - 1, new ToolCallDelta(last.index(), last.id(), last.name(), last.arguments() + json));
        } else {
            calls.add(new ToolCallDelta(numCalls - 1, Optional.empty(), Optional.empty(), json.toString()));
        }
    }

    @Override
    public void end(boolean complete) {
        sound &= complete;
    }

    @Override
    public void malformed() {
        sound = false;
    }

    private boolean shown() {
        return parallel || numCalls == 1;
    }
}
