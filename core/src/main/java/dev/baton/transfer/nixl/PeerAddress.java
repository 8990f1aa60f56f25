package dev.baton.transfer.nixl;

/// A prefiller: which incarnation of it is meant, and where its side channel listens.
record PeerAddress(String engineId, String host, int port) {
    @Override
    public String toString() {
        return "%s at %s:%d".formatted(engineId, host, port);
    }
}
