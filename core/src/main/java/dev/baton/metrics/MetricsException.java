package dev.baton.metrics;

/// Says that the metrics could not be written out.
public final class MetricsException extends RuntimeException {
    public MetricsException(String message, Throwable cause) {
        super(message, cause);
    }
}
