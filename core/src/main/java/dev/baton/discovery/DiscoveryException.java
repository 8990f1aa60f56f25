package dev.baton.discovery;

/// Addresses or lists of engines that cannot be used. The message is one sentence that names the entry and what was
/// needed.
public final class DiscoveryException extends RuntimeException {
    public DiscoveryException(String message) {
        super(message);
    }
}
