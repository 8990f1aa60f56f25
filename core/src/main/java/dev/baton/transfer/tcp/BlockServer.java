package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
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
public final class BlockServer implements Closeable {
    /// One connection that was accepted, which owns its [Wire] and closes it at its end.
    public interface Connection extends Runnable {
        /// Ends the connection soon; from any thread.
        void abort();
    }

    private static final Logger LOG = LoggerFactory.getLogger(BlockServer.class);

    private static final long ACCEPT_PAUSE_MILLIS = 100;

    private final ServerSocketChannel listener;
    private final Function<Wire, ? extends Connection> connector;
    private final int maxConnections;
    private final Map<Thread, Connection> connections = new ConcurrentHashMap<>();
    private final ThreadFactory threads;
    private final Thread acceptor;
    private volatile boolean closed;

    private BlockServer(
            ServerSocketChannel listener,
            Function<Wire, ? extends Connection> connector,
            int maxConnections,
            String name) {
        this.listener = listener;
        this.connector = connector;
        this.maxConnections = maxConnections;
        this.threads =
                Thread.ofPlatform().daemon().name("baton-kv-" + name + "-", 0).factory();
        this.acceptor =
                Thread.ofPlatform().daemon().name("baton-kv-acceptor-" + name).unstarted(this::acceptAll);
    }

    /// Binds and begins to accept decoders' connections.
    static BlockServer start(String ip, int port, int maxConnections, Function<Wire, ? extends Connection> connector) {
        return start("serve", ip, port, "kv_ip or kv_port", maxConnections, connector);
    }

    /// Binds and begins to accept.
    ///
    /// @param name part of the threads' names
    /// @param port to bind, 0 for any free one
    /// @param settings names what to change if the address cannot be bound
    /// @throws TransferException if the address cannot be bound
    public static BlockServer start(
            String name,
            String ip,
            int port,
            String settings,
            int maxConnections,
            Function<Wire, ? extends Connection> connector) {
        try {
            ServerSocketChannel listener = ServerSocketChannel.open();
            try {
                listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
                listener.bind(new InetSocketAddress(InetAddress.getByName(ip), port));
            } catch (IOException e) {
                listener.close();
                throw e;
            }
            BlockServer server = new BlockServer(listener, connector, maxConnections, name);
            server.acceptor.start();
            return server;
        } catch (IOException e) {
            throw new TransferException(
                    "cannot listen for KV peers on %s:%d (%s); change %s".formatted(ip, port, e, settings), e);
        }
    }

    /// The port bound.
    public int port() {
        return listener.socket().getLocalPort();
    }

    private void acceptAll() {
        while (!closed) {
            try {
                serve(listener.accept());
            } catch (ClosedChannelException e) {
                return;
            } catch (IOException e) {
                LOG.warn("accepting a KV connection failed: {}", e.toString());
                pause(); // out of descriptors, most likely: some will be closed
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("accepting a KV connection failed", e);
                pause(); // out of threads, perhaps
            }
        }
    }

    private void serve(SocketChannel channel) throws IOException {
        if (connections.size() >= maxConnections) {
            LOG.warn("KV connection refused: {} are open already (kv_max_connections)", maxConnections);
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
            LOG.debug("closing the KV port: {}", e.toString());
        }
        Threads.awaitEnd(acceptor);
        connections.forEach((thread, connection) -> connection.abort());
        connections.keySet().forEach(Threads::awaitEnd);
    }
}
