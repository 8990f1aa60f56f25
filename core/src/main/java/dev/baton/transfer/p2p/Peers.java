package dev.baton.transfer.p2p;

import java.io.Closeable;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Connections to other instances, kept open for the next transfer. Thread-safe.
final class Peers implements Closeable {
    private static final int MAX_IDLE = 64;

    /// Makes a connection that is not open yet.
    @FunctionalInterface
    interface Maker {
        PeerConnection make(Endpoint peer) throws IOException;
    }

    private final Maker maker;
    private final Map<Endpoint, Deque<PeerConnection>> idle = new HashMap<>(); // guarded by this
    private final Set<PeerConnection> borrowed = new HashSet<>(); // guarded by this
    private int numIdle; // guarded by this
    private boolean closed; // guarded by this

    Peers(Maker maker) {
        this.maker = maker;
    }

    /// A connection for one transfer: one that is open and well, or a new one. To be given back.
    PeerConnection borrow(Endpoint peer) throws IOException {
        while (true) {
            PeerConnection connection = takeIdle(peer);
            if (connection == null) {
                return makeOne(peer);
            }
            if (connection.isUsable()) {
                return connection;
            }
            giveBack(peer, connection, false);
        }
    }

    private synchronized @Nullable PeerConnection takeIdle(Endpoint peer) {
        Deque<PeerConnection> known = idle.get(peer);
        if (known == null) {
            return null;
        }
        PeerConnection connection = known.pop();
        numIdle--;
        if (known.isEmpty()) {
            idle.remove(peer);
        }
        borrowed.add(connection);
        return connection;
    }

    private PeerConnection makeOne(Endpoint peer) throws IOException {
        PeerConnection made = maker.make(peer);
        synchronized (this) {
            if (!closed) {
                borrowed.add(made);
                return made;
            }
        }
        made.close();
        throw new IOException("the connector was closed");
    }

    /// Ends the use of a connection.
    ///
    /// @param keep whether the last exchange ended well
    void giveBack(Endpoint peer, PeerConnection connection, boolean keep) {
        synchronized (this) {
            borrowed.remove(connection);
            if (keep && !closed && numIdle < MAX_IDLE) {
                idle.computeIfAbsent(peer, _ -> new ArrayDeque<>()).push(connection);
                numIdle++;
                return;
            }
        }
        connection.close();
    }

    /// Ends what is under way, soon, and refuses more.
    @Override
    public void close() {
        List<PeerConnection> unused;
        synchronized (this) {
            closed = true;
            borrowed.forEach(PeerConnection::abort);
            unused = idle.values().stream().flatMap(Deque::stream).toList();
            idle.clear();
            numIdle = 0;
        }
        unused.forEach(PeerConnection::close);
    }
}
