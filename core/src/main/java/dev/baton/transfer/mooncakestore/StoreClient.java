package dev.baton.transfer.mooncakestore;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The connection to the cluster, opened anew when it has failed, after a pause that doubles from one second to
/// half a minute: so requests do not wait for a master that is gone.
///
/// The memory is cut into areas, one for each thread that may use it. A client that has failed is closed when
/// the last of its users has let go, for Mooncake may write into memory as long as a call is under way.
/// Thread-safe.
final class StoreClient implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(StoreClient.class);

    private static final Duration FIRST_PAUSE = Duration.ofSeconds(1);
    private static final Duration LONGEST_PAUSE = Duration.ofSeconds(30);

    private final ObjectStore.Opener opener;
    private final int numAreas;
    private final long areaBytes;
    private final ReentrantLock opening = new ReentrantLock();
    private final ReentrantLock lock = new ReentrantLock();
    private Optional<Session> current = Optional.empty(); // guarded by lock, as all below
    private String failure = "";
    private long failedNanos;
    private Duration pause = Duration.ZERO;
    private boolean closed;

    /// What is done with a client.
    @FunctionalInterface
    interface Use<T> {
        /// Does it.
        ///
        /// @param area memory of the caller's alone
        /// @param offset where it begins in [ObjectStore#memory()]
        T with(ObjectStore store, MemorySegment area, long offset) throws IOException;
    }

    /// One client, from its opening to its failure.
    private static final class Session {
        private final ObjectStore store;
        private final ArrayDeque<Long> areas = new ArrayDeque<>(); // free ones; guarded by the client's lock
        private int users; // guarded by the client's lock
        private boolean over; // guarded by the client's lock

        Session(ObjectStore store, int numAreas, long areaBytes) {
            this.store = store;
            for (int i = 0; i < numAreas; i++) {
                areas.add(i * areaBytes);
            }
        }
    }

    /// @param numAreas threads that use it at a time
    StoreClient(ObjectStore.Opener opener, int numAreas, long areaBytes) {
        this.opener = opener;
        this.numAreas = numAreas;
        this.areaBytes = areaBytes;
    }

    /// Uses the client, which is opened if need be.
    ///
    /// @throws IOException if the cluster does not work, or did not a moment ago
    <T> T use(Use<T> use) throws IOException {
        Session session = enter();
        long area = takeArea(session);
        try {
            T result = use.with(session.store, session.store.memory().asSlice(area, areaBytes), area);
            worked();
            return result;
        } catch (IOException e) {
            failed(session, e);
            throw e;
        } finally {
            leave(session, area);
        }
    }

    boolean isOpen() {
        lock.lock();
        try {
            return current.isPresent();
        } finally {
            lock.unlock();
        }
    }

    /// What went wrong last; empty if nothing has.
    String failure() {
        lock.lock();
        try {
            return failure;
        } finally {
            lock.unlock();
        }
    }

    /// Whether the next use would wait for a client to be opened.
    boolean isToBeOpened() {
        lock.lock();
        try {
            return !closed && current.isEmpty() && !isPaused();
        } finally {
            lock.unlock();
        }
    }

    private boolean isPaused() {
        return System.nanoTime() - failedNanos < pause.toNanos();
    }

    /// Opens the client unless it is open.
    ///
    /// @throws IOException if the cluster cannot be reached
    void open() throws IOException {
        leave(enter());
    }

    private Session enter() throws IOException {
        opening.lock(); // others wait for who opens; loads that wait too long end by their deadline
        try {
            Optional<Session> open = enterOpen();
            if (open.isPresent()) {
                return open.get();
            }
            Session opened = new Session(opener.open(numAreas * areaBytes), numAreas, areaBytes);
            lock.lock();
            try {
                opened.users = 1;
                opened.over = closed;
                current = closed ? Optional.empty() : Optional.of(opened);
            } finally {
                lock.unlock();
            }
            return opened;
        } catch (IOException e) {
            remember(e);
            throw e;
        } finally {
            opening.unlock();
        }
    }

    private Optional<Session> enterOpen() throws IOException {
        lock.lock();
        try {
            if (closed) {
                throw new IOException("the connector was closed");
            }
            if (current.isEmpty() && isPaused()) {
                throw new PausedException(
                        "it is left alone for %d s after a failure: %s".formatted(pause.toSeconds(), failure));
            }
            current.ifPresent(session -> session.users++);
            return current;
        } finally {
            lock.unlock();
        }
    }

    /// The failure is known already.
    private static final class PausedException extends IOException {
        private static final long serialVersionUID = 1;

        PausedException(String message) {
            super(message);
        }
    }

    private long takeArea(Session session) {
        lock.lock();
        try {
            return session.areas.remove(); // as many as threads
        } finally {
            lock.unlock();
        }
    }

    private void leave(Session session, long area) {
        lock.lock();
        try {
            session.areas.add(area);
        } finally {
            lock.unlock();
        }
        leave(session);
    }

    private void leave(Session session) {
        boolean last;
        lock.lock();
        try {
            session.users--;
            last = session.users == 0 && session.over;
        } finally {
            lock.unlock();
        }
        if (last) {
            session.store.close();
        }
    }

    private void worked() {
        lock.lock();
        try {
            if (!pause.isZero()) {
                pause = Duration.ZERO;
                LOG.info("the Mooncake store works again");
            }
        } finally {
            lock.unlock();
        }
    }

    private void failed(Session session, IOException e) {
        lock.lock();
        try {
            if (current.isPresent() && current.get() == session) {
                current = Optional.empty();
            }
            session.over = true;
        } finally {
            lock.unlock();
        }
        remember(e);
        session.store.abort();
    }

    private void remember(IOException e) {
        if (e instanceof PausedException) {
            return;
        }
        lock.lock();
        try {
            Duration doubled = pause.multipliedBy(2);
            pause = doubled.isZero() ? FIRST_PAUSE : doubled.compareTo(LONGEST_PAUSE) > 0 ? LONGEST_PAUSE : doubled;
            failedNanos = System.nanoTime();
            failure = String.valueOf(e.getMessage());
        } finally {
            lock.unlock();
        }
    }

    /// Makes calls under way fail soon, and refuses others. The memory is given back when the last has ended.
    @Override
    public void close() {
        Optional<Session> open;
        lock.lock();
        try {
            closed = true;
            open = current;
            current = Optional.empty();
            open.ifPresent(session -> {
                session.over = true;
                session.users++;
            });
        } finally {
            lock.unlock();
        }
        if (open.isPresent()) {
            if (inUse(open.get())) {
                open.get().store.abort();
            }
            leave(open.get());
        }
    }

    private boolean inUse(Session session) {
        lock.lock();
        try {
            return session.users > 1;
        } finally {
            lock.unlock();
        }
    }
}
