package dev.baton.router.backend;

/// Two engines cannot hand over to each other as they are described. The message is one sentence that names the
/// engine and what was needed.
public final class HandoffException extends RuntimeException {
    public HandoffException(String message) {
        super(message);
    }
}
