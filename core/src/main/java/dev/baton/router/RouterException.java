package dev.baton.router;

/// A router that cannot be built or started. The message says what was wrong and which setting to change.
public final class RouterException extends RuntimeException {
    public RouterException(String message) {
        super(message);
    }

    public RouterException(String message, Throwable cause) {
        super(message, cause);
    }
}
