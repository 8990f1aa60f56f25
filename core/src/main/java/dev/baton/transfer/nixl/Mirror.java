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
/// Blocks belong to a request from the first [#copy] or [#fill] to [#free]. Thread-safe; ends with its arena.
final class Mirror implements AutoCloseable {
    private final PagedKv pool;
    private final VllmBlock part;
    private final int numBlocks;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment segment; // (layers, blocks, kvHeads, blockTokens, 2, headDim)
    private final Deque<Integer> free = new ArrayDeque<>(); // guarded by this
    private final Map<String, Copy> held = new HashMap<>(); // guarded by this

    /// What is copied of a request. Of the engine's thread, but for its end.
    private static final class Copy {
        int[] blocks = {};
        int numTokens;
        boolean shown; // whether others may read it
    }

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

    /// Copies what a request has computed since the last call, so that little is left to do at its end. If there is
    /// no room, [#fill] will say so.
    ///
    /// @param blockIds the pool's blocks that hold its tokens
    /// @param numTokens tokens that they hold by now
    void copy(String requestId, int[] blockIds, int numTokens) {
        Optional<Copy> copy = grow(requestId, numTokens);
        if (copy.isPresent()) {
            copy(copy.get(), blockIds, numTokens);
        }
    }

    /// The request's tokens are computed anew, in other blocks.
    synchronized void restart(String requestId) {
        Copy copy = held.get(requestId);
        if (copy != null) {
            copy.numTokens = 0;
        }
    }

    /// Copies what is left of a request's tokens, for others to read.
    ///
    /// @param blockIds the pool's blocks that hold them
    /// @return the mirror's blocks; empty if there are not enough free ones, or others may read the request's
    ///     already
    Optional<int[]> fill(String requestId, int[] blockIds, int numTokens) {
        Optional<Copy> grown = grow(requestId, numTokens);
        if (grown.isEmpty()) {
            return Optional.empty();
        }
        Copy copy = grown.get();
        copy(copy, blockIds, numTokens);
        int used = numTokens % part.blockTokens();
        if (used != 0) {
            int last = copy.blocks[copy.blocks.length - 1];
            for (int layer = 0; layer < pool.layers(); layer++) {
                // What was there before could be NaN, which attention's masks do not mask.
                part.clear(segment, offset(layer, last), used, part.blockTokens() - used);
            }
        }
        synchronized (this) {
            copy.shown = true;
        }
        return Optional.of(copy.blocks);
    }

    /// Gives a request blocks for so many tokens.
    ///
    /// @return empty if there are not enough, or the request's are shown to others
    private synchronized Optional<Copy> grow(String requestId, int numTokens) {
        Copy copy = held.computeIfAbsent(requestId, _ -> new Copy());
        int before = copy.blocks.length;
        int needed = Math.ceilDiv(numTokens, part.blockTokens());
        if (copy.shown || needed - before > free.size()) {
            return Optional.empty();
        }
        if (needed > before) {
            copy.blocks = Arrays.copyOf(copy.blocks, needed);
            for (int i = before; i < needed; i++) {
                copy.blocks[i] = free.removeFirst();
            }
        }
        return Optional.of(copy);
    }

    private void copy(Copy copy, int[] blockIds, int numTokens) {
        int step = gcd(pool.blockTokens(), part.blockTokens());
        for (int layer = 0; layer < pool.layers(); layer++) {
            // whole steps: the last one of before may have grown
            for (int token = copy.numTokens - copy.numTokens % step; token < numTokens; token += step) {
                int count = Math.min(step, numTokens - token);
                long at = offset(layer, copy.blocks[token / part.blockTokens()]);
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
        }
        copy.numTokens = Math.max(copy.numTokens, numTokens);
    }

    /// Nobody reads the request's blocks any more; does nothing if it has none.
    synchronized void free(String requestId) {
        Copy copy = held.remove(requestId);
        if (copy != null) {
            for (int block : copy.blocks) {
                free.addFirst(block); // the next to be used, so that memory that was never used stays that
            }
        }
    }

    /// The request has ended before others were shown its blocks; does nothing if they were.
    synchronized void discard(String requestId) {
        Copy copy = held.get(requestId);
        if (copy != null && !copy.shown) {
            free(requestId);
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
