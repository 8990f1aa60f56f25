package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Causal attention over the paged cache. An item is one tile of rows with the query heads of one key head.
///
/// Per query head and key: the score is one chain of multiply-adds over the head's dimensions. Per query head:
/// the greatest score, then `exp(score - greatest)` and their sum (see [Sums], indexed by the position from the
/// first one that the query sees on), then per dimension one chain of multiply-adds over these positions, divided
/// by the sum. None of these knows of blocks, of tiles or of where a chunk of the prompt begins. Blocks that no row
/// of a tile sees are not read.
final class AttentionTask implements WorkerPool.Task {
    /// Keys that are turned round at a time, a multiple of every panel's width; `(headDim, 64)` floats stay in
    /// cache.
    private static final int KEY_TILE = 64;

    private final Kernels kernels;
    private final Scratch[] scratches; // (threads)
    private float[] qkv = {}; // (rows, (heads + 2 * kvHeads) * headDim)
    private float[] out = {}; // (rows, heads * headDim)
    private @Nullable AttentionShape shape;
    private @Nullable PagedKv kv;
    private @Nullable SequenceRows sequences;
    private int layer;

    AttentionTask(Kernels kernels, int threads, Arena arena) {
        this.kernels = kernels;
        this.scratches = new Scratch[threads];
        for (int i = 0; i < threads; i++) {
            scratches[i] = new Scratch(arena);
        }
    }

    void set(float[] qkv, AttentionShape shape, PagedKv kv, int layer, SequenceRows sequences, float[] out) {
        this.qkv = qkv;
        this.shape = shape;
        this.kv = kv;
        this.layer = layer;
        this.sequences = sequences;
        this.out = out;
    }

    @Override
    public void run(int item, int worker) {
        AttentionShape heads = Objects.requireNonNull(shape);
        PagedKv cache = Objects.requireNonNull(kv);
        SequenceRows tiles = Objects.requireNonNull(sequences);
        Scratch scratch = scratches[worker];
        int tile = item / heads.kvHeads();
        int kvHead = item % heads.kvHeads();
        int rows = tiles.tileRows(tile);
        int firstPosition = tiles.tileFirstPosition(tile);
        int[] blocks = tiles.tileBlocks(tile);
        int firstKey = heads.firstKey(firstPosition);
        int endKey = firstPosition + rows;
        int group = heads.group();
        int headDim = heads.headDim();
        int queries = rows * group;
        int stride = Math.ceilDiv(endKey - firstKey, KEY_TILE) * KEY_TILE;
        scratch.ensure(queries, stride, headDim);

        for (int r = 0; r < rows; r++) {
            int row = (tiles.tileFirstRow(tile) + r) * heads.rowSize() + heads.queryStart(kvHead * group);
            kernels.scale(qkv, row, group * headDim, heads.scale(), scratch.queries, r * group * headDim);
        }
        for (int from = firstKey; from < endKey; from += KEY_TILE) {
            turnKeys(cache, blocks, kvHead, from, Math.min(KEY_TILE, endKey - from), scratch);
            kernels.multiply(
                    scratch.queries,
                    0,
                    headDim,
                    queries,
                    scratch.keys(headDim),
                    0,
                    KEY_TILE,
                    headDim,
                    KEY_TILE,
                    scratch.scores,
                    from - firstKey,
                    stride,
                    false);
        }
        for (int q = 0; q < queries; q++) {
            int position = firstPosition + q / group;
            int seenFrom = heads.firstKey(position);
            scratch.sums[q] = kernels.softmaxNumerators(
                    scratch.scores, q * stride + seenFrom - firstKey, position + 1 - seenFrom, scratch.partials);
        }
        Arrays.fill(scratch.results, 0, queries * headDim, 0f);
        sumValues(heads, cache, blocks, kvHead, rows, firstPosition, stride, scratch);
        for (int q = 0; q < queries; q++) {
            int row = (tiles.tileFirstRow(tile) + q / group) * heads.outSize();
            kernels.scale(
                    scratch.results,
                    q * headDim,
                    headDim,
                    1f / scratch.sums[q],
                    out,
                    row + heads.queryStart(kvHead * group + q % group));
        }
    }

    /// Brings the keys of `count` positions from `from` on into the order `(headDim, KEY_TILE)`. What stands in the
    /// columns after them is left over and is not used.
    private void turnKeys(PagedKv cache, int[] blocks, int kvHead, int from, int count, Scratch scratch) {
        int blockTokens = cache.blockTokens();
        int headDim = cache.headDim();
        MemorySegment rows = cache.dtype() == DType.F32 ? cache.segment() : scratch.widened(KEY_TILE * headDim);
        for (int i = 0; i < count; ) {
            int inBlock = (from + i) % blockTokens;
            int run = Math.min(count - i, blockTokens - inBlock);
            long source = cache.keyOffsetBytes(blocks[(from + i) / blockTokens], layer, kvHead)
                    + inBlock * cache.headTokenBytes();
            long row = source;
            if (cache.dtype() != DType.F32) {
                row = (long) i * headDim * Float.BYTES;
                kernels.widen(cache.segment(), source, cache.dtype(), run * headDim, rows, row);
            }
            for (int end = i + run; i < end; i++, row += (long) headDim * Float.BYTES) {
                scratch.keyRows[i] = row;
            }
        }
        kernels.transpose(rows, scratch.keyRows, count, headDim, scratch.keys(headDim), KEY_TILE);
    }

    /// Puts the values of a block's first `count` tokens at the beginning of scratch memory, as f32.
    private MemorySegment widenedValues(PagedKv cache, long source, int count, Scratch scratch) {
        int elements = count * cache.headDim();
        MemorySegment widened = scratch.widened(elements);
        kernels.widen(cache.segment(), source, cache.dtype(), elements, widened, 0);
        return widened;
    }

    /// Adds the values block by block, so that each is read once for all rows. The rows that see the whole of a
    /// block go together, a row that sees a part of it goes alone with its group.
    private void sumValues(
            AttentionShape heads,
            PagedKv cache,
            int[] blocks,
            int kvHead,
            int rows,
            int firstPosition,
            int stride,
            Scratch scratch) {
        int blockTokens = cache.blockTokens();
        int headDim = heads.headDim();
        int firstKey = heads.firstKey(firstPosition);
        int endKey = firstPosition + rows;
        for (int block = firstKey / blockTokens; block * blockTokens < endKey; block++) {
            int begin = block * blockTokens;
            int end = begin + blockTokens;
            long source = cache.valueOffsetBytes(blocks[block], layer, kvHead);
            MemorySegment values = cache.segment();
            if (cache.dtype() != DType.F32) {
                values = widenedValues(cache, source, Math.min(blockTokens, endKey - begin), scratch);
                source = 0;
            }
            int whole = Math.clamp(end - 1 - firstPosition, 0, rows);
            int wholeEnd = Math.clamp((long) begin + heads.windowTokens() - firstPosition, whole, rows);
            for (int r = 0; r < rows; ) {
                int together = r == whole ? Math.max(1, wholeEnd - whole) : 1;
                int position = firstPosition + r;
                int from = Math.max(begin, heads.firstKey(position));
                int count = Math.min(end, position + 1) - from;
                if (count > 0) {
                    kernels.multiply(
                            scratch.scores,
                            r * heads.group() * stride + from - firstKey,
                            stride,
                            together * heads.group(),
                            values,
                            source + (long) (from - begin) * headDim * Float.BYTES,
                            headDim,
                            count,
                            headDim,
                            scratch.results,
                            r * heads.group() * headDim,
                            headDim,
                            true);
                }
                r += together;
            }
        }
    }

    /// One thread's buffers, grown on demand.
    private static final class Scratch {
        private final Arena arena;
        private MemorySegment keys = MemorySegment.NULL; // (headDim, KEY_TILE)
        private MemorySegment widened = MemorySegment.NULL; // (tokens, headDim)
        private final long[] keyRows = new long[KEY_TILE];
        private float[] queries = {}; // (rows * group, headDim)
        private float[] scores = {}; // (rows * group, keys, rounded up)
        private float[] results = {}; // (rows * group, headDim)
        private float[] sums = {}; // (rows * group)
        private final float[] partials = new float[Sums.PARTIALS];

        Scratch(Arena arena) {
            this.arena = arena;
        }

        void ensure(int queryRows, int keyStride, int headDim) {
            if (queries.length < queryRows * headDim) {
                queries = new float[queryRows * headDim];
                results = new float[queryRows * headDim];
            }
            if (sums.length < queryRows) {
                sums = new float[queryRows];
            }
            int needed = Math.multiplyExact(queryRows, keyStride);
            if (scores.length < needed) {
                scores = new float[Math.max(needed, scores.length + scores.length / 2)];
            }
        }

        /// At least so many floats of memory.
        MemorySegment widened(int floats) {
            long needed = (long) floats * Float.BYTES;
            if (widened.byteSize() < needed) {
                widened = arena.allocate(needed, 64);
            }
            return widened;
        }

        MemorySegment keys(int headDim) {
            long needed = (long) headDim * KEY_TILE * Float.BYTES;
            if (keys.byteSize() < needed) {
                keys = arena.allocate(needed, 64);
            }
            return keys;
        }
    }
}
