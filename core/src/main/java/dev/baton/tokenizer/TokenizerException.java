package dev.baton.tokenizer;

/// Says that a tokenizer could not be loaded or used; the message names the file and what was wrong with it.
public class TokenizerException extends RuntimeException {
    /// @param message what was wrong and what was needed
    public TokenizerException(String message) {
        super(message);
    }

    /// @param message what was wrong and what was needed
    /// @param cause the failure behind it
    public TokenizerException(String message, Throwable cause) {
        super(message, cause);
    }
}
