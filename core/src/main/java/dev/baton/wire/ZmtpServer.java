package dev.baton.wire;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The binding side of ZeroMQ: a ROUTER or a PULL, with a thread for each peer. An answer goes where its
/// question came from, so nobody can take over another's identity.
///
/// A peer that does not greet in time, sends what is none of ZeroMQ's messages or gives no sign of life is dropped.
/// Thread-safe.
public final class ZmtpServer implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(ZmtpServer.class);

    private static final Duration GREETING_TIMEOUT = Duration.ofSeconds(5);
    private static final int PINGS_PER_SILENCE = 4;

    private final WireServer server;

    /// What peers are allowed.
    ///
    /// @param maxConnections open at a time
    /// @param maxMessageBytes of one message
    /// @param silence after which a peer is taken for dead
    public record Limits(int maxConnections, int maxMessageBytes, Duration silence) {}

    /// Takes what peers say, each peer's on a thread of its own.
    @FunctionalInterface
    public interface Receiver {
        /// A message has come.
        ///
        /// @param from whom to answer, now or later and from any thread
        /// @throws IOException to drop the peer
        void received(Zmtp from, List<byte[]> message) throws IOException;

        /// A peer that has greeted has gone, or was dropped.
        default void ended(Zmtp from) {}
    }

    private ZmtpServer(WireServer server) {
        this.server = server;
    }

    /// Binds and begins to take messages.
    ///
    /// @param threads begins the threads' names
    /// @param host name or address to bind, `*` for all interfaces
    /// @param port to bind, 0 for any free one
    /// @throws IOException if the address cannot be bound
    public static ZmtpServer start(
            String threads, Zmtp.SocketType type, String host, int port, Limits limits, Receiver receiver)
            throws IOException {
        return new ZmtpServer(WireServer.start(
                threads,
                host.equals("*") ? "0.0.0.0" : host,
                port,
                limits.maxConnections(),
                wire -> new Peer(threads, wire, type, limits, receiver)));
    }

    /// The port bound.
    public int port() {
        return server.port();
    }

    /// Ends every connection; returns when no thread of it runs any more.
    @Override
    public void close() {
        server.close();
    }

    private record Peer(String name, Wire wire, Zmtp.SocketType type, Limits limits, Receiver receiver)
            implements WireServer.Connection {
        @Override
        public void run() {
            try (wire) {
                Zmtp channel = new Zmtp(wire, type, limits.maxMessageBytes());
                channel.greet(GREETING_TIMEOUT);
                try {
                    Duration pingEvery = limits.silence().dividedBy(PINGS_PER_SILENCE);
                    while (true) {
                        receiver.received(channel, channel.receive(limits.silence(), pingEvery));
                    }
                } finally {
                    receiver.ended(channel);
                }
            } catch (EOFException | AsynchronousCloseException e) {
                LOG.debug("{}: a connection ended: {}", name, e.getMessage());
            } catch (ProtocolException e) {
                LOG.info("{}: a connection was dropped: {}", name, e.getMessage());
            } catch (IOException e) {
                LOG.debug("{}: a connection was dropped: {}", name, e.toString());
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("{}: a message met a bug", name, e);
            }
        }

        @Override
        public void abort() {
            wire.abort();
        }
    }
}
