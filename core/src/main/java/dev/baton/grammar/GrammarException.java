package dev.baton.grammar;

/// A grammar, schema or regular expression that is malformed, not supported, or too costly. The message is one
/// sentence that names the keyword or the position.
public final class GrammarException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /// @param message what is wrong, where, and what would be right
    public GrammarException(String message) {
        super(message);
    }

    /// @param message what is wrong, where, and what would be right
    public GrammarException(String message, Throwable cause) {
        super(message, cause);
    }
}
