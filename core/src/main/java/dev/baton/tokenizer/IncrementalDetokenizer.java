package dev.baton.tokenizer;

/// Turns one request's tokens into text as they come; bytes of an incomplete character are held back.
///
/// The texts of all calls together equal [Tokenizer#decode] of all tokens, wherever a character's bytes are
/// split between tokens. A SentencePiece vocabulary's byte tokens are held back until another token follows.
/// One request, one thread.
public final class IncrementalDetokenizer {
    private final Vocabulary vocabulary;
    private final TokenDecoder.Stream stream;
    private final boolean skipSpecialTokens;
    private final StringBuilder text = new StringBuilder();

    IncrementalDetokenizer(Vocabulary vocabulary, TokenDecoder.Stream stream, boolean skipSpecialTokens) {
        this.vocabulary = vocabulary;
        this.stream = stream;
        this.skipSpecialTokens = skipSpecialTokens;
    }

    /// Takes the next token. A special token that is skipped, and an id without a token, add nothing.
    ///
    /// @param tokenId the token
    /// @return the text that it completes, empty while a character is incomplete
    public String append(int tokenId) {
        text.setLength(0);
        accept(tokenId, text);
        return text.isEmpty() ? "" : text.toString();
    }

    /// Ends the text.
    ///
    /// @return what was held back, with U+FFFD in place of an incomplete character; empty when nothing was
    public String finish() {
        text.setLength(0);
        stream.finish(text);
        return text.isEmpty() ? "" : text.toString();
    }

    void accept(int tokenId, StringBuilder out) {
        boolean skipped = skipSpecialTokens && vocabulary.isSpecial(tokenId);
        if (!skipped && vocabulary.text(tokenId) != null) {
            stream.accept(tokenId, out);
        }
    }

    void finish(StringBuilder out) {
        stream.finish(out);
    }
}
