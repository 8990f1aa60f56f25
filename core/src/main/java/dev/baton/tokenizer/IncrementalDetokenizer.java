package dev.baton.tokenizer;

/// Turns one request's tokens into text as they come, holding back bytes of incomplete characters. One thread only.
@SuppressWarnings("DoNotCallSuggester")
public final class IncrementalDetokenizer {
    IncrementalDetokenizer() {}

    /// Takes the next token and returns the text that it completes.
    public String append(int tokenId) {
        throw new UnsupportedOperationException("being written");
    }

    /// Returns what was held back, as U+FFFD.
    public String finish() {
        throw new UnsupportedOperationException("being written");
    }
}
