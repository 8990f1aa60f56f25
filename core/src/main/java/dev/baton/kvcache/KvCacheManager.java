package dev.baton.kvcache;

import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/// Gives blocks to sequences and takes them back: the only one who does.
///
/// A sequence has a [BlockTable]. [#computedBlocks] fills it with the blocks that the prefix cache holds,
/// [#allocateSlots] adds blocks for what is to be computed or loaded, [#cacheFullBlocks] offers what has been
/// computed to later sequences, [#free] ends it. Two rules keep the cache sound: only full blocks whose every
/// token has been computed (or has arrived, checked) are published, and a published block is never written
/// again. A block is therefore shared only once its bits are final.
///
/// Not thread-safe: the engine's thread only, but for [#newTable()].
public final class KvCacheManager {
    private final KvCacheSpec spec;
    private final boolean prefixCaching;
    private final BlockHasher hasher;
    private final BlockPool pool;
    private final Set<BlockTable> tables = Collections.newSetFromMap(new IdentityHashMap<>());

    /// @param prefixCaching whether blocks are found again by the hash of their tokens
    /// @param hashSeed the key of the block hashes
    public KvCacheManager(KvCacheSpec spec, boolean prefixCaching, long hashSeed) {
        this.spec = spec;
        this.prefixCaching = prefixCaching;
        this.hasher = new BlockHasher(spec, hashSeed);
        this.pool = new BlockPool(spec.numBlocks(), spec.blockTokens());
    }

    /// An empty table for one sequence. Any thread.
    public BlockTable newTable() {
        return new BlockTable(new HashChain(hasher, spec.blockTokens()));
    }

    /// Fills an empty table with the longest prefix of the sequence that is cached here, and keeps those blocks
    /// from being evicted. At least one token is left to compute, because its logits are needed.
    ///
    /// @return the number of tokens found, a multiple of the block size
    public int computedBlocks(BlockTable table, int[] tokens, int numTokens) {
        if (table.size() != 0) {
            throw new IllegalStateException("the table has " + table.size() + " blocks already");
        }
        if (!prefixCaching) {
            return 0;
        }
        HashChain hashes = table.hashes();
        hashes.extend(tokens, numTokens);
        for (int block = find(table, 0, tokens, numTokens); block != BlockPool.NONE; ) {
            pool.retain(block);
            table.add(block);
            block = find(table, table.size(), tokens, numTokens);
        }
        table.settle(table.size());
        if (table.size() > 0) {
            tables.add(table);
        }
        return table.size() * spec.blockTokens();
    }

    /// Looks once more for a sequence that has its blocks already, but of which nothing has been computed: what
    /// others have published meanwhile takes the place of blocks that were to be filled.
    ///
    /// @return the number of tokens found, a multiple of the block size, with those found before
    public int computedBlocksAgain(BlockTable table, int[] tokens, int numTokens) {
        if (!prefixCaching) {
            return 0;
        }
        int found = table.numSettled();
        for (int block = find(table, found, tokens, numTokens); block != BlockPool.NONE; ) {
            pool.retain(block);
            pool.release(table.replace(found, block));
            found++;
            block = find(table, found, tokens, numTokens);
        }
        table.settle(found);
        return found * spec.blockTokens();
    }

    /// The block that is found by the hash of a sequence's block of that index; [BlockPool#NONE] also for its
    /// last token's.
    private int find(BlockTable table, int index, int[] tokens, int numTokens) {
        HashChain hashes = table.hashes();
        return index < (numTokens - 1) / spec.blockTokens()
                ? pool.find(hashes.high(index), hashes.low(index), tokens, index * spec.blockTokens())
                : BlockPool.NONE;
    }

    /// Makes room in a table for a sequence of `numTokens` tokens.
    ///
    /// @return false if there are not enough blocks, in which case nothing changes
    public boolean allocateSlots(BlockTable table, int numTokens) {
        int missing = spec.blocksFor(numTokens) - table.size();
        if (missing <= 0) {
            return true;
        }
        if (missing > pool.numUnused()) {
            return false;
        }
        tables.add(table);
        for (int i = 0; i < missing; i++) {
            table.add(pool.allocate());
        }
        return true;
    }

    /// Publishes the full blocks among the first `numComputedTokens` tokens. A block whose hash another block
    /// bears already stays private.
    public void cacheFullBlocks(BlockTable table, int[] tokens, int numComputedTokens) {
        int full = numComputedTokens / spec.blockTokens();
        if (!prefixCaching || full <= table.numSettled()) {
            return;
        }
        HashChain hashes = table.hashes();
        hashes.extend(tokens, numComputedTokens);
        for (int i = table.numSettled(); i < full; i++) {
            pool.publish(table.id(i), hashes.high(i), hashes.low(i), tokens, i * spec.blockTokens());
        }
        table.settle(full);
    }

    /* Freeing. Three parts of a table end in three ways:
     *   [0, n)        found in the cache: others may use them; after the last user they are cached again
     *   [n, settled)  computed here and published: the same; or a private twin of a published block: free
     *   [settled, ..) the last, partial block, blocks of a failed load, slots never filled: free
     */

    /// Takes all blocks of a table back and empties it, last block first: of a cached prefix, the end is then
    /// evicted before the beginning, without which it would be of no use.
    public void free(BlockTable table) {
        while (table.size() > 0) {
            pool.release(table.removeLast());
        }
        table.settle(0);
        tables.remove(table);
    }

    /// Lets none of a table's blocks be found again: their content is not to be trusted.
    public void distrust(BlockTable table) {
        for (int i = 0; i < table.size(); i++) {
            pool.unpublish(table.id(i));
        }
    }

    /// Forgets every cached block that no sequence uses.
    public void reset() {
        pool.forgetCached();
    }

    public int numBlocks() {
        return spec.numBlocks();
    }

    /// Blocks that hold nothing of use.
    public int numFree() {
        return pool.numUnused() - pool.numCached();
    }

    /// Blocks that no sequence uses but that are found by their hash.
    public int numCached() {
        return pool.numCached();
    }

    /// Checks that every block is accounted for: in the tables handed out, or in the queue of unused blocks,
    /// once.
    ///
    /// @throws IllegalStateException that names the first thing that is wrong
    public void checkIntegrity() {
        int[] users = new int[spec.numBlocks()];
        for (BlockTable table : tables) {
            boolean[] seen = new boolean[spec.numBlocks()];
            for (int i = 0; i < table.size(); i++) {
                int block = table.id(i);
                if (seen[block]) {
                    throw new IllegalStateException("KV cache: block " + block + " is twice in one table");
                }
                seen[block] = true;
                users[block]++;
            }
        }
        pool.checkIntegrity(users);
    }
}
