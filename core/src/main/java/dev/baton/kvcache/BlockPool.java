package dev.baton.kvcache;

import java.util.Arrays;

/// The blocks of a KV cache: how many sequences use each one, which are free, and which are found by their
/// hash.
///
/// A block is *in use* (reference count above 0), *cached* (count 0, but published under its hash) or *free*.
/// Cached and free blocks form one queue: free ones are taken first, then cached ones from the longest unused
/// on, which evicts them. All operations take constant time, but for the comparison of a block's tokens.
/// Nothing is allocated after construction. The queue is nano-vllm's and vLLM's idea; here it and the hash
/// table are threaded through `int` arrays.
///
/// Not thread-safe: the engine's thread only.
final class BlockPool {
    static final int NONE = -1;

    private final int numBlocks;
    private final int blockTokens;
    private final int[] refCounts; // (blocks)

    /* The queue of unused blocks: a ring through these two arrays, entered at index numBlocks. */
    private final int[] previous; // (blocks + 1)
    private final int[] next; // (blocks + 1)
    private int numUnused;
    private int numCached;

    /* What is published. Hash table with chains through the blocks; a hash is published by one block at most. */
    private final boolean[] published; // (blocks)
    private final long[] high; // (blocks)
    private final long[] low; // (blocks)
    private final int[] tokens; // (blocks, blockTokens), of published blocks
    private final int[] buckets; // first block of each chain
    private final int[] chain; // (blocks), next block of the chain

    BlockPool(int numBlocks, int blockTokens) {
        this.numBlocks = numBlocks;
        this.blockTokens = blockTokens;
        this.refCounts = new int[numBlocks];
        this.previous = new int[numBlocks + 1];
        this.next = new int[numBlocks + 1];
        this.published = new boolean[numBlocks];
        this.high = new long[numBlocks];
        this.low = new long[numBlocks];
        this.tokens = new int[Math.multiplyExact(numBlocks, blockTokens)];
        this.buckets = new int[Integer.highestOneBit(Math.max(1, numBlocks)) * 2];
        this.chain = new int[numBlocks];
        Arrays.fill(buckets, NONE);
        previous[numBlocks] = numBlocks;
        next[numBlocks] = numBlocks;
        for (int block = 0; block < numBlocks; block++) {
            enqueueBefore(numBlocks, block);
        }
    }

    /// Blocks that nobody uses: free and cached ones.
    int numUnused() {
        return numUnused;
    }

    /// Blocks that nobody uses and that are found by their hash.
    int numCached() {
        return numCached;
    }

    /// Takes a block for one user; what it held is forgotten.
    ///
    /// @throws IllegalStateException if there is none: ask [#numUnused()] first
    int allocate() {
        if (numUnused == 0) {
            throw new IllegalStateException("no block left of " + numBlocks);
        }
        int block = next[numBlocks];
        dequeue(block);
        unpublish(block);
        refCounts[block] = 1;
        return block;
    }

    /// Adds a user to a block that is in use or cached.
    void retain(int block) {
        if (refCounts[block]++ == 0) {
            dequeue(block);
        }
    }

    /// Takes a user away. After the last one the block can be allocated again: last if it is published, first
    /// if not.
    void release(int block) {
        if (refCounts[block] <= 0) {
            throw new IllegalStateException("block " + block + " is released but nobody uses it");
        }
        if (--refCounts[block] == 0) {
            enqueueBefore(published[block] ? numBlocks : next[numBlocks], block);
        }
    }

    /// The block published under a hash, or [#NONE]. A block with the right hash but other tokens is not found.
    int find(long hashHigh, long hashLow, int[] sequence, int from) {
        for (int block = buckets[bucket(hashLow)]; block != NONE; block = chain[block]) {
            if (high[block] == hashHigh && low[block] == hashLow) {
                return holds(block, sequence, from) ? block : NONE;
            }
        }
        return NONE;
    }

    private boolean holds(int block, int[] sequence, int from) {
        int own = block * blockTokens;
        return Arrays.equals(tokens, own, own + blockTokens, sequence, from, from + blockTokens);
    }

    /// Lets a full block that is in use be found by its hash. Does nothing if another block is found by it
    /// already.
    void publish(int block, long hashHigh, long hashLow, int[] sequence, int from) {
        if (refCounts[block] == 0 || published[block]) {
            throw new IllegalStateException(
                    "block " + block + (published[block] ? " is published already" : " is not in use"));
        }
        int bucket = bucket(hashLow);
        for (int other = buckets[bucket]; other != NONE; other = chain[other]) {
            if (high[other] == hashHigh && low[other] == hashLow) {
                return;
            }
        }
        published[block] = true;
        high[block] = hashHigh;
        low[block] = hashLow;
        System.arraycopy(sequence, from, tokens, block * blockTokens, blockTokens);
        chain[block] = buckets[bucket];
        buckets[bucket] = block;
    }

    /// Lets a block be found no longer; does nothing if it is not published. The block must be in use.
    void unpublish(int block) {
        if (!published[block]) {
            return;
        }
        published[block] = false;
        int bucket = bucket(low[block]);
        if (buckets[bucket] == block) {
            buckets[bucket] = chain[block];
            return;
        }
        int before = buckets[bucket];
        while (chain[before] != block) {
            before = chain[before];
        }
        chain[before] = chain[block];
    }

    /// Makes every cached block a free one.
    void forgetCached() {
        for (int block = 0; block < numBlocks; block++) {
            if (refCounts[block] == 0 && published[block]) {
                dequeue(block);
                unpublish(block);
                enqueueBefore(next[numBlocks], block);
            }
        }
    }

    private int bucket(long hashLow) {
        return (int) hashLow & (buckets.length - 1);
    }

    private void enqueueBefore(int successor, int block) {
        int predecessor = previous[successor];
        previous[block] = predecessor;
        next[block] = successor;
        next[predecessor] = block;
        previous[successor] = block;
        numUnused++;
        if (published[block]) {
            numCached++;
        }
    }

    private void dequeue(int block) {
        next[previous[block]] = next[block];
        previous[next[block]] = previous[block];
        numUnused--;
        if (published[block]) {
            numCached--;
        }
    }

    /// Checks the queue, the hash table and the counts against the reference counts that the tables account
    /// for.
    ///
    /// @throws IllegalStateException that names the first thing that is wrong
    void checkIntegrity(int[] expectedRefCounts) {
        boolean[] queued = new boolean[numBlocks];
        int unused = 0;
        int cached = 0;
        for (int block = next[numBlocks]; block != numBlocks; block = next[block]) {
            check(!queued[block], block, "is queued twice");
            check(previous[next[block]] == block, block, "is linked one way only");
            queued[block] = true;
            unused++;
            cached += published[block] ? 1 : 0;
        }
        check(unused == numUnused, unused, "unused blocks are queued, but " + numUnused + " are counted");
        check(cached == numCached, cached, "cached blocks are queued, but " + numCached + " are counted");
        for (int block = 0; block < numBlocks; block++) {
            int expected = expectedRefCounts[block];
            check(
                    refCounts[block] == expected,
                    block,
                    "has " + refCounts[block] + " users, but is in " + expected + " tables");
            check(
                    queued[block] == (expected == 0),
                    block,
                    "has " + expected + " users and is queued: " + queued[block]);
            if (published[block]) {
                check(
                        find(high[block], low[block], tokens, block * blockTokens) == block,
                        block,
                        "is published but another one is found by its hash");
            }
        }
    }

    private static void check(boolean right, int subject, String what) {
        if (!right) {
            throw new IllegalStateException("block pool: " + subject + " " + what);
        }
    }
}
