package dev.baton.transfer;

/// A connector cannot be set up, or was used against its contract. Says what was wrong and which field to change.
///
/// Faults of a single hand-off are no exceptions: they are reported as [KvEvent.KvFailed].
public final class TransferException extends RuntimeException {
    public TransferException(String message) {
        super(message);
    }

    public TransferException(String message, Throwable cause) {
        super(message, cause);
    }
}
