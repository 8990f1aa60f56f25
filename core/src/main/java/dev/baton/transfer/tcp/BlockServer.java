package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Wire;
import dev.baton.wire.WireServer;
import java.io.IOException;
import java.util.function.Function;

/// Opens the ports of connectors; one that cannot be bound is named in one sentence. Stateless and thread-safe.
public final class BlockServer {
    private BlockServer() {}

    /// Binds and begins to accept decoders' connections.
    static WireServer start(
            String ip, int port, int maxConnections, Function<Wire, ? extends WireServer.Connection> connector) {
        return start("serve", ip, port, "kv_ip or kv_port", maxConnections, connector);
    }

    /// Binds and begins to accept.
    ///
    /// @param name part of the threads' names
    /// @param port to bind, 0 for any free one
    /// @param settings names what to change if the address cannot be bound
    /// @throws TransferException if the address cannot be bound
    public static WireServer start(
            String name,
            String ip,
            int port,
            String settings,
            int maxConnections,
            Function<Wire, ? extends WireServer.Connection> connector) {
        try {
            return WireServer.start("baton-kv-" + name, ip, port, maxConnections, connector);
        } catch (IOException e) {
            throw cannotListen(ip, port, settings, e);
        }
    }

    /// Says that an address cannot be bound.
    ///
    /// @param settings names what to change
    public static TransferException cannotListen(String ip, int port, String settings, IOException cause) {
        return new TransferException(
                "cannot listen for KV peers on %s:%d (%s); change %s".formatted(ip, port, cause, settings), cause);
    }
}
