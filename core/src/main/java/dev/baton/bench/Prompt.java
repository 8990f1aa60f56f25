package dev.baton.bench;

/// What a request asks with.
public sealed interface Prompt {
    /// A prompt as text; the server makes tokens of it.
    record Text(String text) implements Prompt {}

    /// A prompt as tokens, special ones included.
    record Tokens(int[] tokenIds) implements Prompt {}
}
