package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import java.util.Arrays;

/// The blocks of a request that a load is to fill: those behind what was computed, up to the end of what comes from
/// elsewhere.
///
/// @param first place of the first one among the request's blocks
/// @param blockIds where they lie here; empty if nothing comes
public record MissingBlocks(int first, int[] blockIds) {
    /// Those of a load that brings all that is left of the prompt, or nothing.
    ///
    /// @param blockIds the request's blocks, in order
    /// @throws TransferException if the computed tokens end within a block, the blocks are too few, or what comes
    ///     does not end with the prompt
    public static MissingBlocks ofWholePrompt(
            KvCacheSpec spec, KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        int first = first(spec, request, numComputedTokens);
        int end = numExternalTokens == 0 ? first : spec.blocksFor(numComputedTokens + numExternalTokens);
        if (end > blockIds.length || (end > first && numComputedTokens + numExternalTokens != request.numTokens())) {
            throw new TransferException("request %s of %d tokens: %d computed and %d external ones in %d blocks"
                    .formatted(
                            request.requestId(),
                            request.numTokens(),
                            numComputedTokens,
                            numExternalTokens,
                            blockIds.length));
        }
        return new MissingBlocks(first, Arrays.copyOfRange(blockIds, first, end));
    }

    /// The place of the block behind those that are computed.
    ///
    /// @throws TransferException if the computed tokens end within a block
    public static int first(KvCacheSpec spec, KvRequest request, int numComputedTokens) {
        if (numComputedTokens % spec.blockTokens() != 0) {
            throw new TransferException("request %s: %d computed tokens are no whole blocks of %d"
                    .formatted(request.requestId(), numComputedTokens, spec.blockTokens()));
        }
        return numComputedTokens / spec.blockTokens();
    }
}
