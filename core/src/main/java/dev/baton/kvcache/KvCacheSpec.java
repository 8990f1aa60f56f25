package dev.baton.kvcache;

/// What one KV cache holds and in which pieces: the decision on the layout, which both sides of a transfer must
/// share.
///
/// One block holds `blockTokens` tokens of all layers, keys and values, in one contiguous piece laid out as
/// `(layers, 2, kvHeads, blockTokens, headDim)`: the fewest and longest pieces for a transfer. The memory
/// itself is `dev.baton.tensor.PagedKv`.
///
/// @param modelId name that is mixed into block hashes, so that caches of different models never meet
/// @param dtype element type of keys and values, in vLLM's spelling (`float32`, `bfloat16`)
/// @param dtypeBytes size of one element
/// @param blockTokens tokens a block (vLLM's `block_size`)
/// @param numBlocks blocks in the pool
public record KvCacheSpec(
        String modelId,
        String dtype,
        int dtypeBytes,
        int layers,
        int kvHeads,
        int headDim,
        int blockTokens,
        int numBlocks) {

    /// Bytes of one block.
    public long blockBytes() {
        return 2L * layers * kvHeads * headDim * blockTokens * dtypeBytes;
    }

    /// Blocks that hold `tokens` tokens, the last one perhaps in part.
    public int blocksFor(int tokens) {
        return Math.ceilDiv(tokens, blockTokens);
    }

    /// Tokens that a block holds of a request's, the last one perhaps in part.
    ///
    /// @param index of the block among the request's
    /// @param numTokens of the request, more than the blocks before hold
    public static int tokensOf(int index, int numTokens, int blockTokens) {
        return Math.min(blockTokens, numTokens - index * blockTokens);
    }
}
