package dev.baton.transfer.tcp;

import dev.baton.wire.Wire;
import dev.baton.wire.WireServer;
import java.io.Closeable;
import java.io.IOException;
import java.util.function.Function;

/// How a [TcpConnector] reaches its peers, and they it. Thread-safe.
interface Transport {
    /// The network.
    Transport SOCKETS = new Transport() {
        @Override
        public Link dial() throws IOException {
            return Link.over(Wire.unconnected());
        }

        @Override
        public Listener listen(
                String ip, int port, int maxConnections, Function<Link, ? extends WireServer.Connection> connections) {
            return new Sockets(BlockServer.start(ip, port, maxConnections, wire -> connections.apply(Link.over(wire))));
        }
    };

    /// An address under which peers are served; closing it ends their connections and waits for their threads.
    interface Listener extends Closeable {
        /// The port bound.
        int port();

        @Override
        void close();
    }

    /// A port of this machine.
    record Sockets(WireServer server) implements Listener {
        @Override
        public int port() {
            return server.port();
        }

        @Override
        public void close() {
            server.close();
        }
    }

    /// A connection that is not open yet.
    Link dial() throws IOException;

    /// Serves those who connect, each on a thread of its own.
    ///
    /// @param port 0 for any free one
    /// @throws dev.baton.transfer.TransferException if the address cannot be had
    Listener listen(
            String ip, int port, int maxConnections, Function<Link, ? extends WireServer.Connection> connections);
}
