package dev.baton.tensor.cpu;

import dev.baton.tensor.PagedKv;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Rotates the query and key heads of all rows, and writes keys and values into the paged cache. An item is one
/// tile.
final class RotateAndStoreTask implements WorkerPool.Task {
    private final Kernels kernels;
    private float[] qkv = {}; // (rows, (heads + 2 * kvHeads) * headDim)
    private @Nullable AttentionShape shape;
    private @Nullable RotaryTable table;
    private @Nullable PagedKv kv;
    private @Nullable SequenceRows sequences;
    private int layer;

    RotateAndStoreTask(Kernels kernels) {
        this.kernels = kernels;
    }

    void set(float[] qkv, AttentionShape shape, RotaryTable table, PagedKv kv, int layer, SequenceRows sequences) {
        this.qkv = qkv;
        this.shape = shape;
        this.table = table;
        this.kv = kv;
        this.layer = layer;
        this.sequences = sequences;
    }

    @Override
    public void run(int tile, int worker) {
        AttentionShape heads = Objects.requireNonNull(shape);
        RotaryTable rotary = Objects.requireNonNull(table);
        PagedKv cache = Objects.requireNonNull(kv);
        SequenceRows tiles = Objects.requireNonNull(sequences);
        MemorySegment segment = cache.segment();
        int[] blocks = tiles.tileBlocks(tile);
        int headDim = heads.headDim();
        for (int r = 0; r < tiles.tileRows(tile); r++) {
            int position = tiles.tileFirstPosition(tile) + r;
            int row = (tiles.tileFirstRow(tile) + r) * heads.rowSize();
            for (int head = 0; head < heads.heads() + heads.kvHeads(); head++) {
                kernels.rotate(
                        qkv, row + head * headDim, headDim, rotary.cos(), rotary.sin(), rotary.rowStart(position));
            }
            int block = blocks[position / cache.blockTokens()];
            long inBlock = (long) (position % cache.blockTokens()) * cache.headTokenBytes();
            for (int h = 0; h < heads.kvHeads(); h++) {
                long key = cache.keyOffsetBytes(block, layer, h) + inBlock;
                long value = cache.valueOffsetBytes(block, layer, h) + inBlock;
                kernels.narrow(qkv, row + heads.keyStart(h), headDim, cache.dtype(), segment, key);
                kernels.narrow(qkv, row + heads.valueStart(h), headDim, cache.dtype(), segment, value);
            }
        }
    }
}
