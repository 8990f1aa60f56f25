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

/// The listening end of the side channel: accepts decoders' connections, up to a bound, one platform thread each.
///
/// Thread-safe.
final class BlockServer implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(BlockServer.class);

    private static final long ACCEPT_PAUSE_MILLIS = 100;

    private final ServerSocketChannel listener;
    private final Function<Wire, ServedConnection> connector;
    private final int maxConnections;
    private final Map<Thread, ServedConnection> connections = new ConcurrentHashMap<>();
    private final ThreadFactory threads =
            Thread.ofPlatform().daemon().name("baton-kv-serve-", 0).factory();
    private final Thread acceptor;
    private volatile boolean closed;

    private BlockServer(ServerSocketChannel listener, Function<Wire, ServedConnection> connector, int maxConnections) {
        this.listener = listener;
        this.connector = connector;
        this.maxConnections = maxConnections;
        this.acceptor = Thread.ofPlatform().daemon().name("baton-kv-server").unstarted(this::acceptAll);
    }

    /// Binds and begins to accept.
    ///
    /// @throws TransferException if the address cannot be bound
    static BlockServer start(String ip, int port, int maxConnections, Function<Wire, ServedConnection> connector) {
        try {
            ServerSocketChannel listener = ServerSocketChannel.open();
            try {
                listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
                listener.bind(new InetSocketAddress(InetAddress.getByName(ip), port));
            } catch (IOException e) {
                listener.close();
                throw e;
            }
            BlockServer server = new BlockServer(listener, connector, maxConnections);
            server.acceptor.start();
            return server;
        } catch (IOException e) {
            throw new TransferException(
                    "cannot listen for KV peers on %s:%d (%s); change kv_ip or kv_port".formatted(ip, port, e), e);
        }
    }

    /// The port bound.
    int port() {
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

    private void serve(ServedConnection connection) {
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
