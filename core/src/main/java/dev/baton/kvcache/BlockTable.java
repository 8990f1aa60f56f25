package dev.baton.kvcache;

import java.util.Arrays;

/// The blocks of one sequence, in order: position `p` lies in block `ids()[p / blockTokens]`.
///
/// Made by [KvCacheManager#newTable()] and changed by the manager only. Keeps its hash chain over a preemption.
/// Not thread-safe.
public final class BlockTable {
    private final HashChain hashes;
    private int[] ids = new int[8]; // (blocks)
    private int size;
    private int numSettled;

    BlockTable(HashChain hashes) {
        this.hashes = hashes;
    }

    /// The blocks, in order, in the first [#size()] places. The table's own array: not to be changed, and
    /// replaced when the table grows.
    public int[] ids() {
        return ids;
    }

    public int size() {
        return size;
    }

    /// A copy of the first `count` blocks.
    public int[] copyOf(int count) {
        if (count > size) {
            throw new IllegalArgumentException("the table has " + size + " blocks, asked for " + count);
        }
        return Arrays.copyOf(ids, count);
    }

    /// The hashes of the sequence's full blocks.
    public HashChain hashes() {
        return hashes;
    }

    int id(int index) {
        return ids[index];
    }

    void add(int block) {
        if (size == ids.length) {
            ids = Arrays.copyOf(ids, 2 * size);
        }
        ids[size++] = block;
    }

    /// Puts another block in place of one, and gives that back.
    int replace(int index, int block) {
        int before = ids[index];
        ids[index] = block;
        return before;
    }

    int removeLast() {
        return ids[--size];
    }

    /// Number of leading blocks that were found in the prefix cache or offered to it.
    int numSettled() {
        return numSettled;
    }

    void settle(int blocks) {
        numSettled = blocks;
    }
}
