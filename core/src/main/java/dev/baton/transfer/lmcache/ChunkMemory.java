package dev.baton.transfer.lmcache;

import dev.baton.tensor.OffHeap;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;

/// A bounded off-heap store of chunks by key; the one that was not used for longest goes first.
///
/// The memory is one piece, cut into pages of equal size, and a chunk is a list of them: nothing fragments, and
/// the operating system gives a page only when it is first written. A chunk that somebody reads or writes is
/// not evicted.
///
/// Thread-safe; copying happens outside of its lock. Closed by its owner, once nobody reads or writes.
final class ChunkMemory implements AutoCloseable {
    static final int PAGE_BYTES = 64 << 10;

    /// A chunk in the store. Its pages may be written before [#publish], and read between [#acquire] and
    /// [#release].
    static final class Chunk {
        private final String key;
        private final ChunkHead head;
        private final int[] pages;
        private int users = 1; // guarded by the store's lock
        private boolean published; // guarded by the store's lock
        private volatile int checksum;

        private Chunk(String key, ChunkHead head, int[] pages) {
            this.key = key;
            this.head = head;
            this.pages = pages;
        }

        ChunkHead head() {
            return head;
        }

        int checksum() {
            return checksum;
        }

        void setChecksum(int value) {
            checksum = value;
        }
    }

    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory; // (pages, PAGE_BYTES)
    private final int[] freePages; // the first numFree count
    private final ReentrantLock lock = new ReentrantLock();
    private final Map<String, Chunk> chunks = new LinkedHashMap<>(16, 0.75f, true); // the one to evict first
    private int numFree;
    private long numEvicted;

    /// @throws OutOfMemoryError if the address space is not there
    ChunkMemory(long maxBytes) {
        int pages = Math.toIntExact(Math.max(1, maxBytes / PAGE_BYTES));
        this.memory = OffHeap.allocate(arena, (long) pages * PAGE_BYTES);
        this.freePages = new int[pages];
        for (int i = 0; i < pages; i++) {
            freePages[i] = pages - 1 - i;
        }
        this.numFree = pages;
    }

    /// Takes memory for a chunk, others' if need be; empty if even that is not enough.
    Optional<Chunk> reserve(String key, ChunkHead head) {
        int needed = Math.ceilDiv(head.lengthBytes(), PAGE_BYTES);
        lock.lock();
        try {
            if (needed > freePages.length || !makeRoom(needed)) {
                return Optional.empty();
            }
            numFree -= needed;
            return Optional.of(new Chunk(key, head, Arrays.copyOfRange(freePages, numFree, numFree + needed)));
        } finally {
            lock.unlock();
        }
    }

    private boolean makeRoom(int needed) {
        Iterator<Chunk> eldest = chunks.values().iterator();
        while (numFree < needed && eldest.hasNext()) {
            Chunk chunk = eldest.next();
            if (chunk.users == 0) {
                eldest.remove();
                chunk.published = false;
                free(chunk);
                numEvicted++;
            }
        }
        return numFree >= needed;
    }

    /// Makes a chunk that was reserved and written visible, in place of an older one of its key.
    void publish(Chunk chunk) {
        lock.lock();
        try {
            Chunk older = chunks.put(chunk.key, chunk);
            chunk.published = true;
            if (older != null) {
                unpublish(older);
            }
            leave(chunk);
        } finally {
            lock.unlock();
        }
    }

    /// The chunk of that key, to be read until [#release].
    Optional<Chunk> acquire(String key) {
        lock.lock();
        try {
            Chunk chunk = chunks.get(key);
            if (chunk != null) {
                chunk.users++;
            }
            return Optional.ofNullable(chunk);
        } finally {
            lock.unlock();
        }
    }

    /// Ends the use of a chunk that was acquired, or reserved and never published.
    void release(Chunk chunk) {
        lock.lock();
        try {
            leave(chunk);
        } finally {
            lock.unlock();
        }
    }

    /// Forgets a chunk that its user found to be wrong.
    void remove(Chunk chunk) {
        lock.lock();
        try {
            if (chunk.published) {
                chunks.remove(chunk.key);
                unpublish(chunk);
            }
        } finally {
            lock.unlock();
        }
    }

    private void unpublish(Chunk chunk) {
        chunk.published = false;
        if (chunk.users == 0) {
            free(chunk);
        }
    }

    private void leave(Chunk chunk) {
        chunk.users--;
        if (chunk.users == 0 && !chunk.published) {
            free(chunk);
        }
    }

    private void free(Chunk chunk) {
        System.arraycopy(chunk.pages, 0, freePages, numFree, chunk.pages.length);
        numFree += chunk.pages.length;
    }

    boolean contains(String key) {
        lock.lock();
        try {
            return chunks.containsKey(key);
        } finally {
            lock.unlock();
        }
    }

    /// Makes chunks the ones to be evicted last, in that order.
    void touch(List<String> keys) {
        lock.lock();
        try {
            keys.forEach(chunks::get);
        } finally {
            lock.unlock();
        }
    }

    /// The pieces of memory that hold a chunk's bytes, in order.
    List<MemorySegment> pieces(Chunk chunk) {
        List<MemorySegment> pieces = new ArrayList<>(chunk.pages.length);
        int left = chunk.head.lengthBytes();
        for (int page : chunk.pages) {
            int bytes = Math.min(left, PAGE_BYTES);
            pieces.add(memory.asSlice((long) page * PAGE_BYTES, bytes));
            left -= bytes;
        }
        return pieces;
    }

    int numChunks() {
        lock.lock();
        try {
            return chunks.size();
        } finally {
            lock.unlock();
        }
    }

    long usedBytes() {
        lock.lock();
        try {
            return (long) (freePages.length - numFree) * PAGE_BYTES;
        } finally {
            lock.unlock();
        }
    }

    /// Chunks that went to make room.
    long numEvicted() {
        lock.lock();
        try {
            return numEvicted;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() {
        arena.close();
    }
}
