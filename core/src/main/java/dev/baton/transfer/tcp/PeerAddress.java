package dev.baton.transfer.tcp;

import dev.baton.transfer.RemotePrefill;
import java.util.Optional;

/// A prefiller: where it listens and which incarnation of it is meant.
record PeerAddress(String host, int port, String engineId) {
    private static final int MAX_PORT = 65_535;

    static PeerAddress of(RemotePrefill source) {
        return new PeerAddress(source.host(), source.port(), source.engineId());
    }

    /// Why the prefiller that the parameters name cannot even be told anything, if it cannot: they come with a
    /// request, and may be anything.
    static Optional<String> problem(RemotePrefill source) {
        if (source.host().isEmpty()
                || FrameChannel.hasControls(source.host())
                || source.port() < 1
                || source.port() > MAX_PORT) {
            return Optional.of("remote_host and remote_port (%d) are no address".formatted(source.port()));
        }
        if (!Limits.isId(source.engineId()) || !Limits.isId(source.requestId())) {
            return Optional.of(
                    "remote_engine_id or remote_request_id is empty, longer than %d bytes or has control characters"
                            .formatted(Limits.MAX_ID_BYTES));
        }
        return Optional.empty();
    }

    @Override
    public String toString() {
        return "%s at %s:%d".formatted(engineId, host, port);
    }
}
