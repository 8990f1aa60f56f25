package dev.baton.openai;

/// Who decides whether a tool is called (`tool_choice`).
public sealed interface ToolChoice {
    /// No tool is called.
    record None() implements ToolChoice {}

    /// The model decides.
    record Auto() implements ToolChoice {}

    /// The request says `null`: the model decides, where the server can tell calls from text.
    record Unset() implements ToolChoice {}

    /// At least one tool is called.
    record Required() implements ToolChoice {}

    /// This function is called.
    record Named(String function) implements ToolChoice {}
}
