package dev.baton.openai;

/// One prompt of a completion request: text, or token ids.
public sealed interface Prompt {
    /// A prompt that is still to be tokenised.
    record Text(String text) implements Prompt {}

    /// A prompt in token ids.
    record Tokens(int[] ids) implements Prompt {}
}
