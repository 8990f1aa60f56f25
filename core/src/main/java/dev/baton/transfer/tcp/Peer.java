package dev.baton.transfer.tcp;

import java.io.IOException;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/// What a decoder has going on with one prefiller: loads waiting, connections, leases to renew and to release.
///
/// Pure bookkeeping apart from [#borrow]'s new connections; no wait happens under its lock. Thread-safe.
final class Peer {
    /// Makes a connection that is not open yet.
    @FunctionalInterface
    interface Dialler {
        PeerConnection dial(PeerAddress address) throws IOException;
    }

    private static final int MAX_DELIVERY_ATTEMPTS = 3;

    private final PeerAddress address;
    private final Dialler dialler;
    private final int maxRunning;
    private final Deque<BlockLoad> waiting = new ArrayDeque<>();
    private final Deque<PeerConnection> idle = new ArrayDeque<>();
    private final Set<PeerConnection> lent = new HashSet<>();
    private final Set<String> watched = new LinkedHashSet<>();
    private final Set<String> releases = new LinkedHashSet<>();
    private int running;
    private int failedDeliveries;
    private boolean delivering;
    private boolean heartbeatDue;
    private boolean unclaimed;
    private boolean stayConnected;
    private boolean closed;

    Peer(PeerAddress address, Dialler dialler, int maxRunning) {
        this.address = address;
        this.dialler = dialler;
        this.maxRunning = maxRunning;
    }

    PeerAddress address() {
        return address;
    }

    // Loads: first come, first served, up to `maxRunning` at a time.

    synchronized void enqueue(BlockLoad load) {
        waiting.addLast(load);
    }

    /// Whether one more thread is to run loads now; it then calls [#next] until there is none.
    synchronized boolean beginRunning() {
        if (closed || waiting.isEmpty() || running == maxRunning) {
            return false;
        }
        running++;
        return true;
    }

    /// The next load for a thread that runs loads; empty ends that thread's turn.
    synchronized Optional<BlockLoad> next() {
        if (waiting.isEmpty()) {
            running--;
            return Optional.empty();
        }
        return Optional.of(waiting.removeFirst());
    }

    /// Whether the load that asks has the prefiller for itself.
    synchronized boolean hasOneLoad() {
        return running == 1 && waiting.isEmpty();
    }

    /// Takes a load back that no thread has begun.
    synchronized boolean remove(BlockLoad load) {
        return waiting.remove(load);
    }

    // Connections.

    /// A connection for the caller alone, the one used last if there is any; to be given back.
    PeerConnection borrow() throws IOException {
        PeerConnection connection;
        synchronized (this) {
            connection = idle.pollLast();
        }
        if (connection == null) {
            connection = dialler.dial(address);
        }
        synchronized (this) {
            if (!closed) {
                lent.add(connection);
                return connection;
            }
        }
        connection.close();
        throw new AsynchronousCloseException();
    }

    /// @param keep whether it is fit to be used again
    void giveBack(PeerConnection connection, boolean keep) {
        synchronized (this) {
            lent.remove(connection);
            if (keep && !closed && connection.isOpen()) {
                connection.markIdle(System.nanoTime());
                idle.addLast(connection);
                return;
            }
        }
        connection.close();
    }

    /// Has one connection made now, and kept as long as the prefiller answers.
    synchronized void stayConnected() {
        stayConnected = true;
        heartbeatDue = true;
    }

    /// Closes connections that nobody used for that long, but for one if leases are watched: without any, this
    /// decoder would count as gone. One is kept, too, where this one is to stay connected. Closes those, too, that
    /// the prefiller has ended.
    void closeIdle(Duration longerThan) {
        List<PeerConnection> old = new ArrayList<>();
        synchronized (this) {
            long now = System.nanoTime();
            int kept = watched.isEmpty() && !stayConnected ? 0 : 1;
            for (Iterator<PeerConnection> all = idle.iterator(); all.hasNext(); ) {
                PeerConnection connection = all.next();
                boolean isOld = connection.idleFor(now).compareTo(longerThan) > 0;
                if ((isOld && idle.size() > kept) || connection.isOver()) {
                    all.remove();
                    old.add(connection);
                }
            }
        }
        old.forEach(PeerConnection::close);
    }

    // Leases: renewed while watched; releases are delivered by one thread at a time.

    synchronized void watch(String handle) {
        if (!releases.contains(handle) && watched.add(handle)) {
            unclaimed = true;
        }
    }

    /// Notes that it is time to renew if the prefiller has not heard of some lease that is watched.
    synchronized void claimDue() {
        heartbeatDue |= unclaimed && !watched.isEmpty();
        unclaimed = false;
    }

    synchronized void unwatch(Collection<String> handles) {
        watched.removeAll(handles);
    }

    synchronized void addRelease(String handle) {
        watched.remove(handle);
        releases.add(handle);
    }

    /// Notes that it is time to renew leases, or to use the connection that is to stay.
    ///
    /// @param unusedFor how long that one may be unused
    synchronized void heartbeatDue(Duration unusedFor) {
        heartbeatDue = !watched.isEmpty() || (stayConnected && lent.isEmpty() && !wasUsedFor(unusedFor));
    }

    private boolean wasUsedFor(Duration time) {
        PeerConnection latest = idle.peekLast();
        return latest != null && latest.idleFor(System.nanoTime()).compareTo(time) < 0;
    }

    /// Whether the caller is to deliver releases and heartbeats now: there are some, and nobody else does.
    synchronized boolean beginDelivery() {
        if (delivering || closed || !(heartbeatDue || !releases.isEmpty())) {
            return false;
        }
        delivering = true;
        return true;
    }

    /// The next lease to release, which stays first in the queue until it is [#delivered].
    synchronized Optional<String> firstRelease() {
        return releases.stream().findFirst();
    }

    synchronized void delivered(String handle) {
        releases.remove(handle);
        failedDeliveries = 0;
    }

    /// The leases to renew now; empty if it is not time.
    synchronized List<String> takeHeartbeats() {
        boolean due = heartbeatDue;
        heartbeatDue = false;
        return due ? List.copyOf(watched) : List.of();
    }

    /// Ends a delivery that went well.
    synchronized void endDelivery() {
        delivering = false;
    }

    /// Ends a delivery that failed. What could not be released is tried again at the next heartbeat, or given up:
    /// its lease runs out.
    ///
    /// @param hopeless whether trying again cannot help
    synchronized void deliveryFailed(boolean hopeless) {
        delivering = false;
        heartbeatDue = false;
        stayConnected = false; // until somebody says again that it is there
        failedDeliveries++;
        if (hopeless || failedDeliveries >= MAX_DELIVERY_ATTEMPTS) {
            releases.clear();
            failedDeliveries = 0;
        }
    }

    /// Whether nothing is left to remember.
    synchronized boolean isForgettable() {
        return waiting.isEmpty()
                && running == 0
                && idle.isEmpty()
                && lent.isEmpty()
                && watched.isEmpty()
                && releases.isEmpty()
                && !stayConnected
                && !delivering;
    }

    /// Closes idle connections and aborts the others.
    ///
    /// @return loads that no thread has begun
    List<BlockLoad> close() {
        List<PeerConnection> toClose;
        List<BlockLoad> unbegun;
        synchronized (this) {
            closed = true;
            lent.forEach(PeerConnection::abort);
            toClose = List.copyOf(idle);
            idle.clear();
            unbegun = List.copyOf(waiting);
            waiting.clear();
        }
        toClose.forEach(PeerConnection::close);
        return unbegun;
    }
}
