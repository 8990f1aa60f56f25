package dev.baton.transfer.lmcache;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;

/// How a chunk lies in LMCache's memory, and where its tokens are in this pool's blocks.
///
/// A chunk of T tokens is `(2, layers, T, kvHeads * headDim)`, LMCache's `KV_2LTD`; a block of the pool is
/// `(layers, 2, kvHeads, blockTokens, headDim)`.
///
/// Thread-safe as far as different tokens are concerned.
final class ChunkLayout {
    private final PagedKv pool;
    private final int chunkTokens;
    private final int dtype;
    private final long rowBytes; // one token of one head
    private final long tokenBytes; // all heads of one token in one layer, keys or values

    /// @throws TransferException if chunks are not whole blocks or too long
    ChunkLayout(KvCacheSpec spec, PagedKv pool, int chunkTokens) {
        if (chunkTokens % spec.blockTokens() != 0) {
            throw new TransferException("chunk_size is %d, no multiple of --block-size %d; change one of them"
                    .formatted(chunkTokens, spec.blockTokens()));
        }
        long chunkBytes = spec.blockBytes() / spec.blockTokens() * chunkTokens;
        if (chunkBytes > Limits.MAX_CHUNK_BYTES) {
            throw new TransferException("a chunk of %d tokens has %d bytes, more than %d; lower chunk_size"
                    .formatted(chunkTokens, chunkBytes, Limits.MAX_CHUNK_BYTES));
        }
        this.pool = pool;
        this.chunkTokens = chunkTokens;
        this.dtype = number(pool.dtype());
        this.rowBytes = pool.headTokenBytes();
        this.tokenBytes = rowBytes * pool.kvHeads();
    }

    /// LMCache's number of an element type.
    private static int number(DType dtype) {
        return switch (dtype) {
            case F16 -> 2;
            case BF16 -> 3;
            case F32 -> 4;
        };
    }

    int chunkTokens() {
        return chunkTokens;
    }

    int blockTokens() {
        return pool.blockTokens();
    }

    long chunkBytes() {
        return head(chunkTokens).lengthBytes();
    }

    /// What a chunk of that many tokens is, for LMCache.
    ChunkHead head(int tokens) {
        return new ChunkHead(
                Math.toIntExact(2L * pool.layers() * tokens * tokenBytes),
                ChunkHead.KV_2LTD,
                dtype,
                2,
                pool.layers(),
                tokens,
                pool.kvHeads() * pool.headDim());
    }

    /// Copies tokens of one block into a chunk.
    ///
    /// @param slot the first token's place in the block
    /// @param row its place in the chunk
    /// @param chunkRows tokens of the chunk
    void save(int block, int slot, int count, MemorySegment chunk, int row, int chunkRows) {
        copy(false, block, slot, count, chunk, row, chunkRows);
    }

    /// Copies tokens of a chunk into one block; see [#save].
    void load(int block, int slot, int count, MemorySegment chunk, int row, int chunkRows) {
        copy(true, block, slot, count, chunk, row, chunkRows);
    }

    private void copy(boolean load, int block, int slot, int count, MemorySegment chunk, int row, int chunkRows) {
        MemorySegment memory = pool.segment();
        for (int side = 0; side < 2; side++) {
            for (int layer = 0; layer < pool.layers(); layer++) {
                long tokens = ((long) (side * pool.layers() + layer) * chunkRows + row) * tokenBytes;
                for (int head = 0; head < pool.kvHeads(); head++) {
                    long inBlock = side == 0
                            ? pool.keyOffsetBytes(block, layer, head)
                            : pool.valueOffsetBytes(block, layer, head);
                    for (int i = 0; i < count; i++) {
                        long inPool = inBlock + (slot + i) * rowBytes;
                        long inChunk = tokens + i * tokenBytes + head * rowBytes;
                        if (load) {
                            MemorySegment.copy(chunk, inChunk, memory, inPool, rowBytes);
                        } else {
                            MemorySegment.copy(memory, inPool, chunk, inChunk, rowBytes);
                        }
                    }
                }
            }
        }
    }
}
