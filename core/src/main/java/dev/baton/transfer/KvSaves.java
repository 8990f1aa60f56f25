package dev.baton.transfer;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/// The reading of blocks that are saved elsewhere while their request goes on.
///
/// Who saves opens a [Save] a batch, asks it before each block, and closes it. Whoever takes the blocks away
/// fences the request's saves first, or, at the request's end, learns that they are under way and waits for the
/// [KvEvent.LeaseReleased] that follows.
///
/// Thread-safe.
public final class KvSaves {
    private final Consumer<KvEvent> sink;
    private final Map<String, Readers> byRequest = new ConcurrentHashMap<>();

    /// @param sink takes a [KvEvent.LeaseReleased] for each request that [#finish] held
    public KvSaves(Consumer<KvEvent> sink) {
        this.sink = sink;
    }

    /// The saves of one request since it began or was preempted.
    private static final class Readers {
        private final ReentrantLock lock = new ReentrantLock();
        private int open; // guarded by lock
        private boolean fenced; // guarded by lock
        private boolean held; // guarded by lock
    }

    /// One batch of blocks to be saved.
    public final class Save {
        private final String requestId;
        private final Readers readers;

        private Save(String requestId, Readers readers) {
            this.requestId = requestId;
            this.readers = readers;
        }

        /// Runs `copy`, which reads one block and must return soon, unless the blocks belong to others by now.
        ///
        /// @return false if it did not run: nothing more of this save can be read
        public boolean read(Runnable copy) {
            readers.lock.lock();
            try {
                if (readers.fenced) {
                    return false;
                }
                copy.run();
                return true;
            } finally {
                readers.lock.unlock();
            }
        }

        /// Ends this save; to be called once, whatever has been read.
        public void close() {
            boolean last;
            readers.lock.lock();
            try {
                readers.open--;
                last = readers.open == 0 && readers.held;
                readers.held &= !last;
            } finally {
                readers.lock.unlock();
            }
            if (last) {
                release(requestId, readers);
            }
        }
    }

    /// Begins a save. Engine thread, while the request has its blocks.
    public Save open(String requestId) {
        Readers readers = byRequest.computeIfAbsent(requestId, _ -> new Readers());
        readers.lock.lock();
        try {
            readers.open++;
        } finally {
            readers.lock.unlock();
        }
        return new Save(requestId, readers);
    }

    /// Sees to it that nothing reads the request's blocks any more; waits at most for the copy of one block.
    public void fence(String requestId) {
        Readers readers = byRequest.remove(requestId);
        if (readers != null) {
            readers.lock.lock();
            try {
                readers.fenced = true;
            } finally {
                readers.lock.unlock();
            }
        }
    }

    /// The request is over.
    ///
    /// @return whether its blocks are still to be read: they have to be kept until the [KvEvent.LeaseReleased]
    public boolean finish(String requestId) {
        Readers readers = byRequest.get(requestId);
        if (readers == null) {
            return false;
        }
        readers.lock.lock();
        try {
            readers.held = readers.open > 0;
            if (readers.held) {
                return true;
            }
        } finally {
            readers.lock.unlock();
        }
        byRequest.remove(requestId, readers);
        return false;
    }

    /// Gives up what is left to be read of a request that [#finish] held; does nothing for another.
    public void drop(String requestId) {
        Readers readers = byRequest.get(requestId);
        if (readers == null) {
            return;
        }
        boolean held;
        readers.lock.lock();
        try {
            held = readers.held;
            readers.held = false;
            readers.fenced |= held;
        } finally {
            readers.lock.unlock();
        }
        if (held) {
            release(requestId, readers);
        }
    }

    /// Requests whose blocks are kept until they are saved.
    public int numHeld() {
        int held = 0;
        for (Readers readers : byRequest.values()) {
            readers.lock.lock();
            try {
                held += readers.held ? 1 : 0;
            } finally {
                readers.lock.unlock();
            }
        }
        return held;
    }

    private void release(String requestId, Readers readers) {
        byRequest.remove(requestId, readers);
        sink.accept(new KvEvent.LeaseReleased(requestId));
    }
}
