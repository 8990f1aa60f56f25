package dev.baton.launch;

import java.util.List;

/// A deployment could not be started or has ended. The message is one sentence for the person at the terminal.
@SuppressWarnings("serial") // never serialised
public final class LaunchException extends RuntimeException {
    private final List<String> logTail;

    public LaunchException(String message) {
        this(message, List.of());
    }

    /// @param logTail the last log lines of the role that the message speaks of
    public LaunchException(String message, List<String> logTail) {
        super(message);
        this.logTail = List.copyOf(logTail);
    }

    public LaunchException(String message, Throwable cause) {
        super(message, cause);
        this.logTail = List.of();
    }

    /// The last log lines of the role that the message speaks of; may be empty.
    public List<String> logTail() {
        return logTail;
    }
}
