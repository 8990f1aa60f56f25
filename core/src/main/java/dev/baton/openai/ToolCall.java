package dev.baton.openai;

/// A call of a tool in a whole answer.
///
/// @param arguments JSON text
public record ToolCall(String id, String name, String arguments) {}
