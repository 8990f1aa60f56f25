package dev.baton.model;

/// A model that cannot be loaded or run: the message says which file, what was there and what was needed.
public final class ModelException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public ModelException(String message) {
        super(message);
    }

    public ModelException(String message, Throwable cause) {
        super(message, cause);
    }
}
