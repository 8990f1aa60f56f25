package dev.baton.bench;

/// One request of a benchmark.
///
/// @param promptTokens tokens of the prompt, without those that the server puts before it
/// @param outputTokens most tokens to generate
public record BenchRequest(Prompt prompt, int promptTokens, int outputTokens) {}
