package dev.baton.cli;

/// A sub-command cannot do what it was asked to. The message is one sentence for the person at the terminal.
final class CliException extends RuntimeException {
    CliException(String message) {
        super(message);
    }

    CliException(String message, Throwable cause) {
        super(message, cause);
    }
}
