package dev.baton.engine;

/// Why a request ended.
public enum FinishReason {
    /// An end-of-sequence or stop token.
    STOP,
    /// `maxTokens` or the model's context is used up.
    LENGTH,
    /// The client went away or asked for it.
    ABORT,
    /// The engine could not go on; [RequestOutput.Finish#error()] says why.
    ERROR
}
