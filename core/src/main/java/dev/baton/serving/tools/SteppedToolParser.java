package dev.baton.serving.tools;

/// A parser that is always in one of some states and takes a step at a time, for as long as the text that has
/// come lets it. One thread.
abstract class SteppedToolParser implements ToolParser {
    /// What has come and has not been taken yet.
    final TextWindow text = new TextWindow();

    @Override
    public final void accept(String more, ToolCallSink sink) {
        text.append(more);
        boolean goesOn = true;
        while (goesOn && !text.isEmpty()) {
            goesOn = step(sink);
        }
    }

    /// Takes what the present state can take of the text, which is not empty.
    ///
    /// @return whether another step may follow, false if more text has to come
    abstract boolean step(ToolCallSink sink);
}
