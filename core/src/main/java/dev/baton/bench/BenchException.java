package dev.baton.bench;

/// A benchmark cannot be run as asked. The message says which flag to change.
public final class BenchException extends RuntimeException {
    public BenchException(String message) {
        super(message);
    }

    public BenchException(String message, Throwable cause) {
        super(message, cause);
    }
}
