package dev.baton.engine;

/// Tokens in the order of their logits, the highest first and among equals the lowest id, sorted only as far as
/// is asked for: a nucleus is a handful of tokens out of a vocabulary.
///
/// A heap sort that stops early. Allocates nothing after construction, which the JDK's sort does. Not
/// thread-safe.
final class Candidates {
    private final long[] keys; // a heap in [0, size - numRanked), ranked keys behind it, the first one last
    private int size;
    private int numRanked;

    Candidates(int capacity) {
        this.keys = new long[capacity];
    }

    void clear() {
        size = 0;
        numRanked = 0;
    }

    /// Adds a token; only before the first [#ranked].
    void add(float logit, int token) {
        keys[size++] = key(logit, token);
    }

    int size() {
        return size;
    }

    /// The token of a rank, from 0 to `size() - 1`.
    int ranked(int rank) {
        if (numRanked == 0) {
            for (int i = size / 2 - 1; i >= 0; i--) {
                siftDown(i, size);
            }
        }
        while (numRanked <= rank) {
            int last = size - 1 - numRanked++;
            long best = keys[0];
            keys[0] = keys[last];
            keys[last] = best;
            siftDown(0, last);
        }
        return (int) keys[size - 1 - rank];
    }

    private void siftDown(int from, int end) {
        long key = keys[from];
        int hole = from;
        for (int child = 2 * hole + 1; child < end; child = 2 * hole + 1) {
            if (child + 1 < end && keys[child + 1] < keys[child]) {
                child++;
            }
            if (keys[child] >= key) {
                break;
            }
            keys[hole] = keys[child];
            hole = child;
        }
        keys[hole] = key;
    }

    /// Ascends with descending logits, then with ascending token ids, which are the low half.
    private static long key(float logit, int token) {
        int bits = Float.floatToRawIntBits(logit + 0f); // -0 becomes 0
        int ascending = bits ^ ((bits >> 31) & Integer.MAX_VALUE);
        return ((long) ~ascending << 32) | token;
    }
}
