package dev.baton.transfer.mooncake;

import dev.baton.transfer.KvLoad;
import java.util.function.Consumer;

/// One load that was decided on: which blocks of the pool get the last blocks of a prompt.
///
/// @param blockIds the pool's blocks, in order; empty if only the prefiller is to let go
/// @param numTokens tokens that they get
/// @param promptDigest of the whole prompt
/// @param starter begins it
record MooncakeLoad(
        String requestId,
        Source source,
        int[] blockIds,
        int numTokens,
        String promptDigest,
        Consumer<MooncakeLoad> starter)
        implements KvLoad {

    /// Where a prompt's blocks are, by a request's parameters.
    ///
    /// @param engineId of the prefiller (`remote_engine_id`)
    /// @param bootstrap where its workers are listed (`remote_bootstrap_addr`)
    record Source(String transferId, String engineId, Bootstraps.Address bootstrap) {}

    @Override
    public void start() {
        starter.accept(this);
    }
}
