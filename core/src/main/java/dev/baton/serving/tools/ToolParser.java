package dev.baton.serving.tools;

/// Finds the tool calls in one output while it is generated.
///
/// Takes every piece of the text once, however it is cut, and holds back no more than what it cannot tell yet:
/// a part of a marker, or a call whose name is not known. What does not parse becomes content; no text makes it
/// fail. The work is linear in the length of the text. One thread.
public interface ToolParser {
    /// Takes the next piece of the output.
    void accept(String text, ToolCallSink sink);

    /// The output is over: what was held back is given out.
    void finish(ToolCallSink sink);
}
