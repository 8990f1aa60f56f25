package dev.baton.tensor.cpu;

/// The heads of an attention layer, and where they stand in a row of queries, keys and values: all query heads,
/// then all key heads, then all value heads. Query heads `g * heads / kvHeads` and following share the key head
/// `g`.
///
/// @param scale factor on the scores, usually `1 / sqrt(headDim)`
public record AttentionShape(int heads, int kvHeads, int headDim, float scale) {
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
