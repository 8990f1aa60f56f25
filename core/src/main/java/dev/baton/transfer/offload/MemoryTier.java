package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.tensor.OffHeap;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/// Blocks in memory beside the pool, as many as fit. Owns its memory.
///
/// Thread-safe: a block is copied by whoever pinned it, outside of the lock; pinned blocks are not evicted.
final class MemoryTier implements AutoCloseable {
    private final long blockBytes;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory; // (slots, block)
    private final EvictionPolicy policy; // guarded by this, as all below
    private final ArrayDeque<Integer> free = new ArrayDeque<>();
    private final Map<BlockHash, Entry> entries = new HashMap<>();
    /// Slots of blocks that are being written.
    private final Map<BlockHash, Integer> reserved = new HashMap<>();

    private static final class Entry {
        private final int slot;
        private int pins;

        Entry(int slot) {
            this.slot = slot;
        }
    }

    /// @param capacity blocks that there is room for
    /// @throws OutOfMemoryError if the memory is not there
    MemoryTier(long blockBytes, int capacity, EvictionPolicy policy) {
        this.blockBytes = blockBytes;
        this.policy = policy;
        this.memory = OffHeap.allocate(arena, blockBytes * capacity);
        for (int slot = 0; slot < capacity; slot++) {
            free.add(slot);
        }
    }

    synchronized boolean contains(BlockHash hash) {
        return entries.containsKey(hash);
    }

    /// Keeps a block from being evicted.
    ///
    /// @return its bytes, to be read until [#unpin]; empty if it is not here
    synchronized Optional<MemorySegment> pin(BlockHash hash) {
        Entry entry = entries.get(hash);
        if (entry == null) {
            return Optional.empty();
        }
        entry.pins++;
        policy.touch(hash);
        return Optional.of(slot(entry.slot));
    }

    synchronized void unpin(BlockHash hash) {
        Entry entry = entries.get(hash);
        if (entry != null) {
            entry.pins--;
        }
    }

    /// Makes room for a block; every reservation ends in [#publish] or [#giveUp].
    ///
    /// @return where to write it; empty if it is here or on its way, or if everything is pinned
    synchronized Optional<MemorySegment> reserve(BlockHash hash) {
        if (entries.containsKey(hash) || reserved.containsKey(hash)) {
            return Optional.empty();
        }
        policy.admit(hash);
        if (free.isEmpty()) {
            Optional<BlockHash> gone = policy.evict(this::isEvictable);
            if (gone.isEmpty()) {
                policy.remove(hash);
                return Optional.empty();
            }
            free.add(Objects.requireNonNull(entries.remove(gone.get())).slot);
        }
        int slot = free.remove();
        reserved.put(hash, slot);
        return Optional.of(slot(slot));
    }

    private boolean isEvictable(BlockHash hash) {
        Entry entry = entries.get(hash); // none: it is being written
        return entry != null && entry.pins == 0;
    }

    /// The block has been written.
    synchronized void publish(BlockHash hash) {
        entries.put(hash, new Entry(Objects.requireNonNull(reserved.remove(hash))));
    }

    /// The block will not be written.
    synchronized void giveUp(BlockHash hash) {
        free.add(Objects.requireNonNull(reserved.remove(hash)));
        policy.remove(hash);
    }

    synchronized int size() {
        return entries.size();
    }

    private MemorySegment slot(int slot) {
        return memory.asSlice(slot * blockBytes, blockBytes);
    }

    /// Gives the memory back; nobody may be reading or writing.
    @Override
    public void close() {
        arena.close();
    }
}
