package dev.baton.serving.tools;

/// Takes what a [ToolParser] finds, in the order in which it is found. One thread.
public interface ToolCallSink {
    /// Text that belongs to no call.
    void content(CharSequence text);

    /// A call begins. Nothing else begins before its [#end].
    void begin(String name);

    /// More of the arguments of the call that has begun: JSON text, cut anywhere.
    void arguments(CharSequence json);

    /// The call that has begun ends.
    ///
    /// @param complete false if the output stopped or went wrong before the end of the arguments
    void end(boolean complete);

    /// Something looked like a call and is none; its text comes as [#content].
    void malformed();
}
