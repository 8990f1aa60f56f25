package dev.baton.transfer.mooncake;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.AsynchronousCloseException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// The data connections to other Transfer Engines, kept open between transfers. Thread-safe; a connection belongs
/// to who borrowed it.
final class TePeers implements Closeable {
    /// An engine, by the address of its handshake.
    record Address(String host, int port) {
        @Override
        public String toString() {
            return host + ":" + port;
        }
    }

    private record Idle(TeConnection connection, long sinceNanos) {}

    private final MooncakeOptions options;
    private final Map<Address, Deque<Idle>> idle = new HashMap<>(); // guarded by this
    private final Set<TeConnection> lent = new HashSet<>(); // guarded by this
    private boolean closed; // guarded by this

    TePeers(MooncakeOptions options) {
        this.options = options;
    }

    /// A connection for the caller alone, the one used last if there is any, else one that is not open yet; to be
    /// given back.
    TeConnection borrow(Address peer) throws IOException {
        synchronized (this) {
            Idle kept = idle.getOrDefault(peer, new ArrayDeque<>()).pollLast();
            if (kept != null) {
                lent.add(kept.connection());
                return kept.connection();
            }
        }
        TeConnection connection = new TeConnection(options.peerTimeout());
        synchronized (this) {
            if (!closed) {
                lent.add(connection);
                return connection;
            }
        }
        connection.close();
        throw new AsynchronousCloseException();
    }

    /// Opens a connection that is not open yet: asks the engine where it takes data, and connects to there.
    void open(TeConnection connection, Address peer) throws IOException {
        TeHandshake.Descriptor descriptor =
                TeHandshake.ask(peer.host(), peer.port(), options.connectTimeout(), options.peerTimeout());
        if (!descriptor.dataHost().isEmpty()
                && !descriptor.dataHost().equals(peer.host())
                && !options.allows(descriptor.dataHost())) {
            throw new IOException(
                    "the Transfer Engine at %s takes data at another host, which is not among".formatted(peer)
                            + " kv_allowed_hosts");
        }
        connection.open(descriptor, peer.host(), options.connectTimeout());
    }

    /// @param keep whether it is fit to be used again
    void giveBack(Address peer, TeConnection connection, boolean keep) {
        List<TeConnection> toClose = new ArrayList<>();
        synchronized (this) {
            lent.remove(connection);
            long now = System.nanoTime();
            if (keep && !closed) {
                idle.computeIfAbsent(peer, _ -> new ArrayDeque<>()).addLast(new Idle(connection, now));
            } else {
                toClose.add(connection);
            }
            takeStale(now, toClose);
        }
        toClose.forEach(TeConnection::close);
    }

    /// Takes what the peer may close soon, as it closes idle connections too.
    private void takeStale(long nowNanos, List<TeConnection> taken) {
        Iterator<Deque<Idle>> peers = idle.values().iterator();
        while (peers.hasNext()) {
            Deque<Idle> connections = peers.next();
            while (!connections.isEmpty()
                    && nowNanos - connections.peekFirst().sinceNanos()
                            > options.idleTimeout().dividedBy(2).toNanos()) {
                taken.add(connections.pollFirst().connection());
            }
            if (connections.isEmpty()) {
                peers.remove();
            }
        }
    }

    /// Closes idle connections and aborts the others.
    @Override
    public void close() {
        List<TeConnection> toClose = new ArrayList<>();
        synchronized (this) {
            closed = true;
            lent.forEach(TeConnection::abort);
            idle.values().forEach(connections -> connections.forEach(each -> toClose.add(each.connection())));
            idle.clear();
        }
        toClose.forEach(TeConnection::close);
    }
}
