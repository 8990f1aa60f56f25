package dev.baton.tokenizer;

import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;

/// A model's tokenizer: text to token ids and back. Thread-safe.
@SuppressWarnings("DoNotCallSuggester")
public final class Tokenizer implements AutoCloseable {
    private Tokenizer() {}

    /// Loads the tokenizer of a model folder.
    public static Tokenizer load(Path modelDirectory) {
        throw new UnsupportedOperationException("being written: " + modelDirectory);
    }

    /// Encodes `text`; special tokens written in it become those tokens.
    public int[] encode(String text, boolean addSpecialTokens) {
        return encode(text, addSpecialTokens, false);
    }

    /// Encodes `text`; with `splitSpecialTokens` special tokens written in it stay ordinary text.
    public int[] encode(String text, boolean addSpecialTokens, boolean splitSpecialTokens) {
        throw new UnsupportedOperationException("being written");
    }

    /// Decodes `ids` as a whole.
    public String decode(int[] ids, boolean skipSpecialTokens) {
        throw new UnsupportedOperationException("being written");
    }

    /// The text of one token as logprobs show it.
    public String tokenText(int id) {
        throw new UnsupportedOperationException("being written");
    }

    /// The bytes that a token stands for; empty for a special token.
    public byte[] tokenBytes(int id) {
        throw new UnsupportedOperationException("being written");
    }

    /// Whether `id` is a special token.
    public boolean isSpecial(int id) {
        throw new UnsupportedOperationException("being written");
    }

    /// One more than the highest token id.
    public int vocabularySize() {
        throw new UnsupportedOperationException("being written");
    }

    /// The id of the beginning-of-sequence token.
    public OptionalInt bosTokenId() {
        throw new UnsupportedOperationException("being written");
    }

    /// The id of the end-of-sequence token.
    public OptionalInt eosTokenId() {
        throw new UnsupportedOperationException("being written");
    }

    /// The model's chat template.
    public Optional<ChatTemplate> chatTemplate() {
        throw new UnsupportedOperationException("being written");
    }

    /// A fresh incremental detokenizer for one request.
    public IncrementalDetokenizer detokenizer(boolean skipSpecialTokens) {
        throw new UnsupportedOperationException("being written");
    }

    @Override
    public void close() {}
}
