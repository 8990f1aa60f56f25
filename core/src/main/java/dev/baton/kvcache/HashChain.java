package dev.baton.kvcache;

import java.util.Arrays;

/// The hashes of one sequence's full blocks, from the first on: each is computed once, however often the
/// sequence is looked up, preempted and computed again.
///
/// Tokens may be appended to the sequence but never changed. Not thread-safe.
public final class HashChain {
    private final BlockHasher hasher;
    private final int blockTokens;
    private long[] halves = new long[16]; // (blocks, 2): high, low
    private int size;

    HashChain(BlockHasher hasher, int blockTokens) {
        this.hasher = hasher;
        this.blockTokens = blockTokens;
    }

    /// Hashes the full blocks of `tokens[0 .. numTokens)` that are not hashed yet.
    public void extend(int[] tokens, int numTokens) {
        int blocks = numTokens / blockTokens;
        if (2 * blocks > halves.length) {
            halves = Arrays.copyOf(halves, Math.max(2 * blocks, 2 * halves.length));
        }
        for (; size < blocks; size++) {
            hasher.hash(high(size - 1), low(size - 1), tokens, size * blockTokens, blockTokens, halves, 2 * size);
        }
    }

    /// Number of blocks hashed.
    public int size() {
        return size;
    }

    /// High half of a block's hash; of the root for block -1.
    long high(int block) {
        return block < 0 ? hasher.root().high() : halves[2 * block];
    }

    /// Low half of a block's hash; of the root for block -1.
    long low(int block) {
        return block < 0 ? hasher.root().low() : halves[2 * block + 1];
    }

    /// The hash of a block.
    public BlockHash get(int block) {
        return new BlockHash(high(block), low(block));
    }
}
