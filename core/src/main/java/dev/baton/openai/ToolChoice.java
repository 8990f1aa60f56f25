package dev.baton.openai;

/// Who decides whether a tool is called (`tool_choice`).
public sealed interface ToolChoice {
    /// No tool is called.
    record None() implements ToolChoice {}

    /// The model decides.
    record Auto() implements ToolChoice {}

    /// At least one tool is called.
    record Required() implements ToolChoice {}

    /// This function is called.
    record Named(String function) implements ToolChoice {}
}
