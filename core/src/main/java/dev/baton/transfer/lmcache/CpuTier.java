package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/// Chunks in this process's memory, each with a checksum.
///
/// Thread-safe.
final class CpuTier implements Tier {
    private final long maxBytes;
    private final ChunkMemory memory;

    /// @throws TransferException if there is not so much memory
    CpuTier(long maxBytes) {
        this.maxBytes = maxBytes;
        try {
            this.memory = new ChunkMemory(maxBytes);
        } catch (OutOfMemoryError e) {
            throw new TransferException(
                    "there is no memory of %d bytes for chunks; lower max_local_cpu_size".formatted(maxBytes), e);
        }
    }

    /// The chunks.
    ChunkMemory memory() {
        return memory;
    }

    @Override
    public String name() {
        return "memory of %.2f GiB".formatted(maxBytes / (double) (1 << 30));
    }

    @Override
    public boolean contains(String key) {
        return memory.contains(key);
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        Optional<ChunkMemory.Chunk> found = memory.acquire(key);
        if (found.isEmpty()) {
            return false;
        }
        ChunkMemory.Chunk chunk = found.get();
        try {
            expected.require(chunk.head());
            long at = 0;
            for (MemorySegment piece : memory.pieces(chunk)) {
                MemorySegment.copy(piece, 0, target, at, piece.byteSize());
                at += piece.byteSize();
            }
            ChunkChecksum.require(chunk.checksum(), key, expected, target);
            return true;
        } catch (BadChunkException e) {
            memory.remove(chunk);
            throw e;
        } finally {
            memory.release(chunk);
        }
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) {
        memory.reserve(key, head).ifPresent(kept -> {
            long at = 0;
            for (MemorySegment piece : memory.pieces(kept)) {
                MemorySegment.copy(chunk, at, piece, 0, piece.byteSize());
                at += piece.byteSize();
            }
            kept.setChecksum(ChunkChecksum.of(key, head, chunk));
            memory.publish(kept);
        });
    }

    @Override
    public void touch(List<String> keys) {
        memory.touch(keys);
    }

    @Override
    public void close() {
        memory.close();
    }
}
