package dev.baton.transfer.nixl;

import dev.baton.tensor.OffHeap;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/// A copy of the held requests' blocks in vLLM's layout LBHNC, for vLLM engines to read: they address a layer as
/// one region of equal blocks whose inside is `(kvHeads, blockTokens, 2, headDim)`, which the pool's blocks are
/// not.
///
/// Blocks belong to a request from [#fill] to [#free]. Thread-safe; ends with its arena.
final class Mirror implements AutoCloseable {
    private final PagedKv pool;
    private final VllmBlock part;
    private final int numBlocks;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment segment; // (layers, blocks, kvHeads, blockTokens, 2, headDim)
    private final Deque<Integer> free = new ArrayDeque<>(); // guarded by this
    private final Map<String, int[]> held = new HashMap<>(); // guarded by this

    /// @param numBlocks at least 1
    Mirror(PagedKv pool, int blockTokens, int numBlocks) {
        this.pool = pool;
        this.part = VllmBlock.of(VllmBlock.Order.HEAD_MAJOR, blockTokens, pool);
        this.numBlocks = numBlocks;
        this.segment = OffHeap.allocate(arena, (long) pool.layers() * numBlocks * part.bytes());
        for (int i = 0; i < numBlocks; i++) {
            free.add(i);
        }
    }

    /// Bytes of one block, all layers.
    static long blockBytes(PagedKv pool, int blockTokens) {
        return pool.layers()
                * VllmBlock.of(VllmBlock.Order.HEAD_MAJOR, blockTokens, pool).bytes();
    }

    MemorySegment segment() {
        return segment;
    }

    int numBlocks() {
        return numBlocks;
    }

    /// Bytes of one layer of one block.
    long partBytes() {
        return part.bytes();
    }

    /// Where the first block of a layer begins, as an address.
    long base(int layer) {
        return segment.address() + offset(layer, 0);
    }

    private long offset(int layer, int block) {
        return ((long) layer * numBlocks + block) * part.bytes();
    }

    /// Copies a request's tokens.
    ///
    /// @param blockIds the pool's blocks that hold them
    /// @return the mirror's blocks; empty if there are not enough free ones
    Optional<int[]> fill(String requestId, int[] blockIds, int numTokens) {
        int[] blocks = new int[Math.ceilDiv(numTokens, part.blockTokens())];
        synchronized (this) {
            if (free.size() < blocks.length || held.putIfAbsent(requestId, blocks) != null) {
                return Optional.empty();
            }
            Arrays.setAll(blocks, _ -> free.removeFirst());
        }
        int step = gcd(pool.blockTokens(), part.blockTokens());
        for (int layer = 0; layer < pool.layers(); layer++) {
            for (int token = 0; token < numTokens; token += step) {
                int count = Math.min(step, numTokens - token);
                long at = offset(layer, blocks[token / part.blockTokens()]);
                part.write(
                        pool,
                        blockIds[token / pool.blockTokens()],
                        layer,
                        token % pool.blockTokens(),
                        count,
                        segment,
                        at,
                        token % part.blockTokens());
            }
            int used = numTokens % part.blockTokens();
            if (used != 0) {
                // What was there before could be NaN, which attention's masks do not mask.
                part.clear(segment, offset(layer, blocks[blocks.length - 1]), used, part.blockTokens() - used);
            }
        }
        return Optional.of(blocks);
    }

    /// Nobody reads the request's blocks any more; does nothing if it has none.
    synchronized void free(String requestId) {
        int[] blocks = held.remove(requestId);
        if (blocks != null) {
            for (int block : blocks) {
                free.addFirst(block); // the next to be used, so that memory that was never used stays that
            }
        }
    }

    synchronized int numFree() {
        return free.size();
    }

    private static int gcd(int a, int b) {
        return b == 0 ? a : gcd(b, a % b);
    }

    @Override
    public void close() {
        arena.close();
    }
}
