package dev.baton.transfer;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
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
    private final Map<String, BlockReaders> byRequest = new ConcurrentHashMap<>();

    /// @param sink takes a [KvEvent.LeaseReleased] for each request that [#finish] held
    public KvSaves(Consumer<KvEvent> sink) {
        this.sink = sink;
    }

    /// One batch of blocks to be saved.
    public final class Save {
        private final String requestId;
        private final BlockReaders readers; // of the request since it began or was preempted

        private Save(String requestId, BlockReaders readers) {
            this.requestId = requestId;
            this.readers = readers;
        }

        /// Whose blocks they are.
        public String requestId() {
            return requestId;
        }

        /// As [BlockReaders#read].
        public boolean read(Runnable copy) {
            return readers.read(copy);
        }

        /// Ends this save; to be called once, whatever has been read.
        public void close() {
            if (readers.end()) {
                release(requestId, readers);
            }
        }
    }

    /// Begins a save. Engine thread, while the request has its blocks.
    public Save open(String requestId) {
        BlockReaders readers = byRequest.computeIfAbsent(requestId, _ -> new BlockReaders());
        readers.begin();
        return new Save(requestId, readers);
    }

    /// Sees to it that nothing reads the request's blocks any more; waits at most for the copy of one block.
    public void fence(String requestId) {
        BlockReaders readers = byRequest.remove(requestId);
        if (readers != null && readers.fence()) {
            release(requestId, readers);
        }
    }

    /// The request is over.
    ///
    /// @return whether its blocks are still to be read: they have to be kept until the [KvEvent.LeaseReleased]
    public boolean finish(String requestId) {
        BlockReaders readers = byRequest.get(requestId);
        if (readers == null) {
            return false;
        }
        if (readers.hold()) {
            return true;
        }
        byRequest.remove(requestId, readers);
        return false;
    }

    /// Gives up what is left to be read of a request that [#finish] held; does nothing for another.
    public void drop(String requestId) {
        BlockReaders readers = byRequest.get(requestId);
        if (readers != null && readers.drop()) {
            release(requestId, readers);
        }
    }

    /// Requests whose blocks are kept until they are saved.
    public int numHeld() {
        return (int) byRequest.values().stream().filter(BlockReaders::isHeld).count();
    }

    private void release(String requestId, BlockReaders readers) {
        byRequest.remove(requestId, readers);
        sink.accept(new KvEvent.LeaseReleased(requestId));
    }
}
