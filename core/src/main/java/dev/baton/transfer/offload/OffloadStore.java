package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.kvcache.BlockHasher;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.store.BlockStore;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.LongAdder;

/// Memory and files as one store: a block is looked for in memory first, and one from a file is put there too.
///
/// Of blocks in files it does not know for sure: other instances write and delete there. Where there are files,
/// all of a prompt's full blocks may be there, and the load finds out. Thread-safe.
final class OffloadStore implements BlockStore<BlockHash>, AutoCloseable {
    private final PagedKv pool;
    private final BlockHasher hasher;
    private final Optional<MemoryTier> memory;
    private final Optional<FileTier> files;
    private final LongAdder bytesSaved = new LongAdder();

    OffloadStore(PagedKv pool, BlockHasher hasher, Optional<MemoryTier> memory, Optional<FileTier> files) {
        this.pool = pool;
        this.hasher = hasher;
        this.memory = memory;
        this.files = files;
    }

    @Override
    public List<BlockHash> names(int[] tokenIds, int numTokens) {
        int blockTokens = pool.blockTokens();
        BlockHash[] hashes = new BlockHash[numTokens / blockTokens];
        BlockHash parent = hasher.root();
        for (int i = 0; i < hashes.length; i++) {
            parent = hasher.hash(parent, tokenIds, i * blockTokens, blockTokens);
            hashes[i] = parent;
        }
        return Arrays.asList(hashes);
    }

    @Override
    public boolean mayHave(List<BlockHash> names, int index) {
        return files.isPresent()
                || memory.map(tier -> tier.contains(names.get(index))).orElse(false);
    }

    @Override
    public boolean asks() {
        return files.isPresent();
    }

    @Override
    public boolean isKept(List<BlockHash> names, int index) {
        return files.isPresent()
                ? files.get().knows(names.get(index))
                : memory.map(tier -> tier.contains(names.get(index))).orElse(false);
    }

    private MemorySegment staging(Arena arena) {
        return files.isPresent() ? arena.allocate(pool.blockBytes(), 64) : MemorySegment.NULL;
    }

    @Override
    public void load(List<BlockHash> names, Blocks target) throws IOException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment staging = staging(arena);
            int index = 0;
            while (index < names.size() && bring(names.get(index), index, target, staging)) {
                index++;
            }
        }
    }

    /// @return false if the block is not to be had
    private boolean bring(BlockHash hash, int index, Blocks target, MemorySegment staging) throws IOException {
        if (memory.isPresent()) {
            Optional<MemorySegment> kept = memory.get().pin(hash);
            if (kept.isPresent()) {
                try {
                    return target.visit(index, block -> pool.block(block).copyFrom(kept.get()));
                } finally {
                    memory.get().unpin(hash);
                }
            }
        }
        if (files.isEmpty() || !files.get().read(hash, staging)) {
            return false;
        }
        keep(hash, staging);
        return target.visit(index, block -> pool.block(block).copyFrom(staging));
    }

    /// Puts a block into the memory, if there is room for it.
    private void keep(BlockHash hash, MemorySegment block) {
        if (memory.isPresent()) {
            memory.get().reserve(hash).ifPresent(slot -> {
                slot.copyFrom(block);
                memory.get().publish(hash);
            });
        }
    }

    @Override
    public void save(List<BlockHash> names, Blocks source) throws IOException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment staging = staging(arena);
            for (int i = 0; i < names.size(); i++) {
                BlockHash hash = names.get(i);
                if (!copy(hash, i, source, staging)) {
                    return;
                }
                bytesSaved.add(pool.blockBytes());
                if (files.isPresent() && !files.get().knows(hash)) {
                    files.get().write(hash, staging);
                }
            }
        }
    }

    /// @return false if the block belongs to somebody else by now
    private boolean copy(BlockHash hash, int index, Blocks source, MemorySegment staging) {
        Optional<MemorySegment> slot = memory.flatMap(tier -> tier.reserve(hash));
        boolean copied = source.visit(index, block -> {
            MemorySegment bytes = pool.block(block);
            slot.ifPresent(target -> target.copyFrom(bytes));
            if (files.isPresent()) {
                staging.copyFrom(bytes);
            }
        });
        if (slot.isPresent() && copied) {
            memory.orElseThrow().publish(hash);
        } else if (slot.isPresent()) {
            memory.orElseThrow().giveUp(hash);
        }
        return copied;
    }

    @Override
    public long bytesSaved() {
        return bytesSaved.sum();
    }

    @Override
    public long numBadBlocks() {
        return files.map(FileTier::numBad).orElse(0L);
    }

    /// Gives the memory back; nobody may be loading or saving.
    @Override
    public void close() {
        memory.ifPresent(MemoryTier::close);
    }
}
