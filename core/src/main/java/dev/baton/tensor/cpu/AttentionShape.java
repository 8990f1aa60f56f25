package dev.baton.tensor.cpu;

import dev.baton.tensor.TensorException;

/// The heads of an attention layer, where they stand in a row of queries, keys and values, and how far back they
/// see. A row is all query heads, then all key heads, then all value heads. Query heads `g * heads / kvHeads` and
/// following share the key head `g`.
///
/// @param scale factor on the scores, usually `1 / sqrt(headDim)`
/// @param windowTokens positions that a query sees, its own included: the query at `p` sees the keys after
///     `p - windowTokens`; [#UNBOUNDED] if it sees all of them
public record AttentionShape(int heads, int kvHeads, int headDim, float scale, int windowTokens) {
    /// The window of a layer that sees every position.
    public static final int UNBOUNDED = Integer.MAX_VALUE;

    public AttentionShape {
        if (windowTokens < 1) {
            throw new TensorException("an attention window must be at least 1 token, not " + windowTokens);
        }
    }

    /// Heads that see every position.
    public AttentionShape(int heads, int kvHeads, int headDim, float scale) {
        this(heads, kvHeads, headDim, scale, UNBOUNDED);
    }

    /// The same heads over another window.
    public AttentionShape withWindowTokens(int newWindowTokens) {
        return new AttentionShape(heads, kvHeads, headDim, scale, newWindowTokens);
    }

    /// The first position that a query sees.
    int firstKey(int position) {
        return Math.max(0, position - windowTokens + 1);
    }

    /// Query heads a key head.
    int group() {
        return heads / kvHeads;
    }

    /// Floats in a row of queries, keys and values.
    public int rowSize() {
        return (heads + 2 * kvHeads) * headDim;
    }

    /// Floats in a row of results.
    public int outSize() {
        return heads * headDim;
    }

    int queryStart(int head) {
        return head * headDim;
    }

    int keyStart(int kvHead) {
        return (heads + kvHead) * headDim;
    }

    int valueStart(int kvHead) {
        return (heads + kvHeads + kvHead) * headDim;
    }
}
