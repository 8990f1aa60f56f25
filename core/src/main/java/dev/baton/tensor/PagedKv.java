package dev.baton.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The memory of a paged KV cache: one off-heap pool of equally large blocks.
///
/// Layout of the pool: `(blocks, layers, 2, kvHeads, blockTokens, headDim)`, keys before values. All layers of
/// a block lie side by side, so that a block is one contiguous piece for a transfer, and the tokens of one head
/// lie side by side, so that attention streams them.
///
/// The engine creates and closes it; model and transfer read and write through [#segment()]. Concurrent access to
/// different blocks is safe; that nobody touches a block that is not theirs is the business of the KV cache
/// manager.
public final class PagedKv implements AutoCloseable {
    private final int numBlocks;
    private final int layers;
    private final int kvHeads;
    private final int blockTokens;
    private final int headDim;
    private final DType dtype;
    private final long headBytes;
    private final long sideBytes;
    private final long layerBytes;
    private final long blockBytes;
    private final Arena arena;
    private final MemorySegment segment; // (blocks, layers, 2, kvHeads, blockTokens, headDim)

    /// Allocates a zeroed pool.
    ///
    /// @throws OutOfMemoryError if the memory is not there
    public PagedKv(int numBlocks, int layers, int kvHeads, int blockTokens, int headDim, DType dtype) {
        this.numBlocks = numBlocks;
        this.layers = layers;
        this.kvHeads = kvHeads;
        this.blockTokens = blockTokens;
        this.headDim = headDim;
        this.dtype = dtype;
        this.headBytes = (long) blockTokens * headDim * dtype.bytes();
        this.sideBytes = headBytes * kvHeads;
        this.layerBytes = sideBytes * 2;
        this.blockBytes = layerBytes * layers;
        this.arena = Arena.ofShared();
        this.segment = OffHeap.allocate(arena, blockBytes * numBlocks);
        // Now rather than page by page in the middle of some step.
        segment.fill((byte) 0);
    }

    /// The whole pool.
    public MemorySegment segment() {
        return segment;
    }

    /// One block of the pool: all layers, keys and values.
    public MemorySegment block(int block) {
        return segment.asSlice(blockOffsetBytes(block), blockBytes);
    }

    public long blockOffsetBytes(int block) {
        return block * blockBytes;
    }

    /// Where the keys of one head in one block begin: `(blockTokens, headDim)` follow.
    public long keyOffsetBytes(int block, int layer, int kvHead) {
        return block * blockBytes + layer * layerBytes + kvHead * headBytes;
    }

    /// Where the values of one head in one block begin: `(blockTokens, headDim)` follow.
    public long valueOffsetBytes(int block, int layer, int kvHead) {
        return keyOffsetBytes(block, layer, kvHead) + sideBytes;
    }

    public int numBlocks() {
        return numBlocks;
    }

    public int layers() {
        return layers;
    }

    public int kvHeads() {
        return kvHeads;
    }

    public int blockTokens() {
        return blockTokens;
    }

    public int headDim() {
        return headDim;
    }

    public DType dtype() {
        return dtype;
    }

    /// Bytes of one token's key, or value, of one head.
    public long headTokenBytes() {
        return (long) headDim * dtype.bytes();
    }

    public long blockBytes() {
        return blockBytes;
    }

    /// Gives the memory back. Every later access throws.
    @Override
    public void close() {
        arena.close();
    }
}
