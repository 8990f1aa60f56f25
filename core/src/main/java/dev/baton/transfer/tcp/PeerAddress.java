package dev.baton.transfer.tcp;

import dev.baton.transfer.KvPeer;
import dev.baton.transfer.RemotePrefill;
import java.util.Optional;

/// A prefiller: where it listens and which incarnation of it is meant.
record PeerAddress(String host, int port, String engineId) {
    private static final int MAX_PORT = 65_535;
    private static final String NO_ID = "%s is empty, longer than %d bytes or has control characters";

    static PeerAddress of(RemotePrefill source) {
        return new PeerAddress(source.host(), source.port(), source.engineId());
    }

    static PeerAddress of(KvPeer peer) {
        return new PeerAddress(peer.host(), peer.port(), peer.engineId());
    }

    /// Why the prefiller that the parameters name cannot even be told anything, if it cannot: they come with a
    /// request, and may be anything.
    static Optional<String> problem(RemotePrefill source) {
        if (!Limits.isId(source.requestId())) {
            return Optional.of(NO_ID.formatted("remote_request_id", Limits.MAX_ID_BYTES));
        }
        return of(source).problem();
    }

    /// Why nobody can be there, if so.
    Optional<String> problem() {
        if (host.isEmpty() || FrameChannel.hasControls(host) || port < 1 || port > MAX_PORT) {
            return Optional.of("remote_host and remote_port (%d) are no address".formatted(port));
        }
        return Limits.isId(engineId)
                ? Optional.empty()
                : Optional.of(NO_ID.formatted("remote_engine_id", Limits.MAX_ID_BYTES));
    }

    @Override
    public String toString() {
        return "%s at %s:%d".formatted(engineId, host, port);
    }
}
