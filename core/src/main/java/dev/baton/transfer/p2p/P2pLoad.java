package dev.baton.transfer.p2p;

import dev.baton.transfer.KvLoad;
import java.util.function.Consumer;

/// One load that was decided on: which blocks of the pool get the last blocks of a prompt.
///
/// @param tensorId what both sides know the prompt's blocks by
/// @param prefiller whom they come from
/// @param first number of the first block that is wanted, within the prompt
/// @param blockIds the pool's blocks, in order; empty if nothing is wanted after all
/// @param promptTokens tokens of the whole prompt
/// @param numTokens tokens that the blocks get
/// @param promptDigest of the whole prompt
/// @param starter begins it
record P2pLoad(
        String requestId,
        String tensorId,
        Endpoint prefiller,
        int first,
        int[] blockIds,
        int promptTokens,
        int numTokens,
        String promptDigest,
        Consumer<P2pLoad> starter)
        implements KvLoad {
    @Override
    public void start() {
        starter.accept(this);
    }
}
