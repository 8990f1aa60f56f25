package dev.baton.transfer.tcp;

import dev.baton.transfer.KvTransferParams;

/// A prefiller: where it listens and which incarnation of it is meant.
record PeerAddress(String host, int port, String engineId) {
    static PeerAddress of(KvTransferParams.RemotePrefill source) {
        return new PeerAddress(source.host(), source.port(), source.engineId());
    }

    @Override
    public String toString() {
        return "%s at %s:%d".formatted(engineId, host, port);
    }
}
