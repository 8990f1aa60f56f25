package dev.baton.transfer.lmcache;

import dev.baton.wire.Wire;
import java.io.Closeable;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.channels.ClosedChannelException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/// The connections to one server: kept, and used again by one thread at a time. There are as many as there are
/// threads that use it at once.
///
/// Thread-safe.
final class Connections implements Closeable {
    /// What is said and heard over a connection; it may be begun anew on another one.
    @FunctionalInterface
    interface Exchange<T> {
        T over(Wire wire) throws IOException;
    }

    private final String host;
    private final int port;
    private final Duration timeout;
    private final Exchange<Boolean> greeting;
    private final ReentrantLock lock = new ReentrantLock();
    private final Deque<Wire> idle = new ArrayDeque<>();
    private final Set<Wire> used = new HashSet<>();
    private boolean closed;

    /// @param timeout bounds opening a connection
    /// @param greeting comes first on every connection
    Connections(String host, int port, Duration timeout, Exchange<Boolean> greeting) {
        this.host = host;
        this.port = port;
        this.timeout = timeout;
        this.greeting = greeting;
    }

    /// Carries out an exchange; on a new connection if a kept one turns out to be broken.
    <T> T use(Exchange<T> exchange) throws IOException {
        Optional<Wire> kept = takeIdle();
        if (kept.isPresent()) {
            try {
                return use(kept.get(), exchange);
            } catch (BadChunkException | SocketTimeoutException e) {
                throw e;
            } catch (IOException e) {
                if (isClosed()) {
                    throw e;
                }
                // The server was restarted, most likely.
            }
        }
        Wire wire = Wire.unconnected();
        begin(wire);
        return use(wire, opened -> {
            opened.connect(host, port, timeout);
            boolean _ = greeting.over(opened);
            return exchange.over(opened);
        });
    }

    private <T> T use(Wire wire, Exchange<T> exchange) throws IOException {
        boolean keep = false;
        try {
            T result = exchange.over(wire);
            keep = true;
            return result;
        } finally {
            end(wire, keep);
        }
    }

    private Optional<Wire> takeIdle() throws IOException {
        lock.lock();
        try {
            requireOpen();
            Optional<Wire> wire = Optional.ofNullable(idle.pollFirst());
            wire.ifPresent(used::add);
            return wire;
        } finally {
            lock.unlock();
        }
    }

    private void begin(Wire wire) throws IOException {
        lock.lock();
        try {
            requireOpen();
            used.add(wire);
        } catch (IOException e) {
            wire.close();
            throw e;
        } finally {
            lock.unlock();
        }
    }

    private void end(Wire wire, boolean keep) {
        lock.lock();
        try {
            used.remove(wire);
            if (keep && !closed) {
                idle.addFirst(wire);
                return;
            }
        } finally {
            lock.unlock();
        }
        wire.close();
    }

    private boolean isClosed() {
        lock.lock();
        try {
            return closed;
        } finally {
            lock.unlock();
        }
    }

    private void requireOpen() throws IOException {
        if (closed) {
            throw new ClosedChannelException();
        }
    }

    /// Ends all exchanges: who carries one out gets an exception within moments.
    @Override
    public void close() {
        lock.lock();
        try {
            closed = true;
            used.forEach(Wire::abort);
            idle.forEach(Wire::close);
            idle.clear();
        } finally {
            lock.unlock();
        }
    }
}
