package dev.baton.wire;

import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadFactory;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The listening end of a protocol over TCP: accepts connections, up to a bound, one platform thread each.
///
/// Thread-safe.
public final class WireServer implements Closeable {
    /// One connection that was accepted, which owns its [Wire] and closes it at its end.
    public interface Connection extends Runnable {
        /// Ends the connection soon; from any thread.
        void abort();

        /// Whether it only waits at this moment for what is done elsewhere in this process. Such connections have
        /// room of their own, as much again, so that they leave the others theirs. From any thread.
        default boolean isWaiting() {
            return false;
        }
    }

    private static final Logger LOG = LoggerFactory.getLogger(WireServer.class);

    private static final long ACCEPT_PAUSE_MILLIS = 100;

    /// Connections that wait to be accepted. The JDK's 50 are fewer than a decoder opens at a time, and who
    /// finds no room tries again only after a second.
    private static final int BACKLOG = 1_024;

    private final ServerSocketChannel listener;
    private final Function<Wire, ? extends Connection> connector;
    private final int maxConnections;
    private final Map<Thread, Connection> connections = new ConcurrentHashMap<>();
    private final String name;
    private final ThreadFactory threads;
    private final Thread acceptor;
    private volatile boolean closed;

    private WireServer(
            ServerSocketChannel listener,
            Function<Wire, ? extends Connection> connector,
            int maxConnections,
            String threads) {
        this.listener = listener;
        this.connector = connector;
        this.maxConnections = maxConnections;
        this.name = threads;
        this.threads = Thread.ofPlatform().daemon().name(threads + "-", 0).factory();
        this.acceptor = Thread.ofPlatform().daemon().name(threads + " acceptor").unstarted(this::acceptAll);
    }

    /// Binds and begins to accept.
    ///
    /// @param threads begins the threads' names
    /// @param host name or address to bind
    /// @param port to bind, 0 for any free one
    /// @param maxConnections open at a time, and as many again that wait; more are closed at once
    /// @param connector makes the owner of each connection
    public static WireServer start(
            String threads, String host, int port, int maxConnections, Function<Wire, ? extends Connection> connector)
            throws IOException {
        ServerSocketChannel listener = ServerSocketChannel.open();
        try {
            listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
            listener.bind(new InetSocketAddress(InetAddress.getByName(host), port), BACKLOG);
        } catch (IOException | RuntimeException e) {
            listener.close();
            throw e;
        }
        WireServer server = new WireServer(listener, connector, maxConnections, threads);
        server.acceptor.start();
        return server;
    }

    /// The port bound.
    public int port() {
        return listener.socket().getLocalPort();
    }

    /// Connections open now.
    public int numConnections() {
        return connections.size();
    }

    private void acceptAll() {
        while (!closed) {
            try {
                serve(listener.accept());
            } catch (ClosedChannelException e) {
                return;
            } catch (IOException e) {
                LOG.warn("{}: accepting a connection failed: {}", name, e.toString());
                pause(); // out of descriptors, most likely: some will be closed
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("{}: accepting a connection failed", name, e);
                pause(); // out of threads, perhaps
            }
        }
    }

    private void serve(SocketChannel channel) throws IOException {
        if (connections.size() - Math.min(numWaiting(), maxConnections) >= maxConnections) {
            LOG.warn("{}: a connection is refused: {} are open already", name, connections.size());
            channel.close();
            return;
        }
        Wire wire = Wire.over(channel);
        try {
            serve(connector.apply(wire));
        } catch (RuntimeException | Error e) {
            wire.close();
            throw e;
        }
    }

    private long numWaiting() {
        return connections.size() < maxConnections
                ? 0 // as almost always: nobody has to be asked
                : connections.values().stream().filter(Connection::isWaiting).count();
    }

    private void serve(Connection connection) {
        Thread thread = threads.newThread(() -> {
            try {
                connection.run();
            } finally {
                connections.remove(Thread.currentThread());
            }
        });
        connections.put(thread, connection);
        try {
            thread.start();
        } catch (Error e) {
            connections.remove(thread);
            throw e;
        }
        if (closed) {
            connection.abort();
        }
    }

    private static void pause() {
        try {
            Thread.sleep(ACCEPT_PAUSE_MILLIS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /// Ends every connection; returns when no thread of it runs any more.
    @Override
    public void close() {
        closed = true;
        try {
            listener.close();
        } catch (IOException e) {
            LOG.debug("{}: closing the port: {}", name, e.toString());
        }
        Threads.awaitEnd(acceptor);
        connections.forEach((thread, connection) -> connection.abort());
        connections.keySet().forEach(Threads::awaitEnd);
    }
}
