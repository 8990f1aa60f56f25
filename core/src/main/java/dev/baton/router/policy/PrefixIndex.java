package dev.baton.router.policy;

import java.util.Arrays;

/// Which engines are believed to hold which blocks of prompts: from a block's key to a set of engines.
///
/// Memory is bounded by two generations. What is added goes into the young one; when that is full, the old one is
/// dropped and the young one becomes old. A prompt that comes again is young again as a whole, and an engine that
/// holds a block holds all before it, so blocks vanish from a prompt's end. The beginning that an engine holds is
/// therefore found by halving intervals instead of walking: for a prompt of 500 blocks some ten or twenty look-ups.
///
/// Eight blocks that follow each other lie side by side in memory, for memory that is not in the processor's
/// cache is what takes the time here: [#key] makes their keys alike.
///
/// Engines are numbers from 0; each 64 of them share the entries of a key. Not thread-safe: used under the
/// policy's lock.
final class PrefixIndex {
    /// Blocks that lie side by side.
    static final int GROUP = 8;

    private static final int FIRST_ENTRIES = 1 << 12;
    private static final int OWN_BITS = 24;
    private static final long OWN = (1L << OWN_BITS) - 1;
    private static final long ENGINES_KEY = 0xD6E8FEB86659FD93L;

    private final int maxEntries;
    private Table young = new Table(FIRST_ENTRIES);
    private Table old = new Table(1);

    /// @param maxBlocks entries of both generations together
    PrefixIndex(int maxBlocks) {
        maxEntries = Math.max(FIRST_ENTRIES, maxBlocks / 2);
    }

    /// A hash table with open addressing, at most half full: key and set side by side.
    private static final class Table {
        private long[] cells;
        private int entries;

        /// @param entries a power of two
        private Table(int entries) {
            cells = new long[4 * entries];
        }

        private boolean isFull() {
            return 4 * entries >= cells.length;
        }

        private long get(long key) {
            return cells[cell(key) + 1];
        }

        private void add(long key, long bits) {
            int cell = cell(key);
            if (cells[cell] == 0) {
                cells[cell] = key;
                entries++;
            }
            cells[cell + 1] |= bits;
        }

        /// Where the key is, or where it would be.
        private int cell(long key) {
            int cell = ((int) (key >>> OWN_BITS) * 2 * GROUP + 2 * (int) (key & (GROUP - 1))) & (cells.length - 1);
            while (cells[cell] != key && cells[cell] != 0) {
                cell = (cell + 2) & (cells.length - 2);
            }
            return cell;
        }

        private void grow() {
            long[] before = cells;
            cells = new long[2 * before.length];
            entries = 0;
            for (int i = 0; i < before.length; i += 2) {
                if (before[i] != 0) {
                    add(before[i], before[i + 1]);
                }
            }
        }

        private void remove(long bits) {
            for (int i = 1; i < cells.length; i += 2) {
                cells[i] &= ~bits;
            }
        }
    }

    /// The key of a block: 40 bits of the hash over its group's first block and all before, and 24 of its own.
    ///
    /// @param place in its group, 0 to 7
    static long key(long groupHash, long blockHash, int place) {
        return (groupHash & ~OWN) | (blockHash & OWN & -GROUP) | place;
    }

    /// The set of bits that was added for a key.
    long get(long key) {
        return young.get(usable(key)) | old.get(usable(key));
    }

    /// Adds bits to the set of a key.
    void add(long key, long bits) {
        if (young.isFull()) {
            if (2 * young.entries > maxEntries) {
                old = young;
                young = new Table(FIRST_ENTRIES);
            } else {
                young.grow();
            }
        }
        young.add(usable(key), bits);
    }

    private static long usable(long key) {
        return key == 0 ? 1 : key; // 0 marks an empty cell
    }

    /// Says that an engine holds these blocks.
    ///
    /// @param chain keys of a prompt's blocks
    void addChain(long[] chain, int engine) {
        long bit = 1L << engine;
        int group = engine >>> 6;
        int low = 0; // blocks before it are young already
        int high = chain.length;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if ((young.get(usable(inGroup(chain[middle], group))) & bit) != 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        for (int i = low; i < chain.length; i++) {
            add(inGroup(chain[i], group), bit);
        }
    }

    /// Looks up how many blocks of a prompt each engine holds from its beginning on.
    ///
    /// @param chain keys of a prompt's blocks
    /// @param held set to the number of blocks, by engine
    void match(long[] chain, int[] held) {
        Arrays.fill(held, 0);
        if (chain.length == 0) {
            return;
        }
        for (int group = 0; group << 6 < held.length; group++) {
            long first = get(inGroup(chain[0], group));
            if (first != 0) {
                narrow(chain, group, 0, first, chain.length, held);
            }
        }
    }

    /// Finds where each of the `engines`, which hold block `low` and not block `high`, ends between the two.
    private void narrow(long[] chain, int group, int low, long engines, int high, int[] held) {
        if (engines == 0) {
            return;
        }
        if (high - low == 1) {
            for (long rest = engines; rest != 0; rest &= rest - 1) {
                int engine = (group << 6) + Long.numberOfTrailingZeros(rest);
                if (engine < held.length) {
                    held[engine] = high;
                }
            }
            return;
        }
        int middle = (low + high) >>> 1;
        long beyond = engines & get(inGroup(chain[middle], group));
        narrow(chain, group, low, engines & ~beyond, middle, held);
        narrow(chain, group, middle, beyond, high, held);
    }

    /// The key for 64 engines of which these are not the first.
    private static long inGroup(long key, int group) {
        return key ^ ((group * ENGINES_KEY) & ~OWN);
    }

    /// An engine holds nothing any more.
    ///
    /// Engines of other groups with the same bit lose theirs as well and are believed to hold less than they do.
    void forget(int engine) {
        long bit = 1L << engine;
        young.remove(bit);
        old.remove(bit);
    }

    void clear() {
        young = new Table(FIRST_ENTRIES);
        old = new Table(1);
    }

    /// Entries of both generations.
    int size() {
        return young.entries + old.entries;
    }
}
