package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.transfer.KvLoad;

/// Blocks to bring back.
///
/// @param hashes their names, in order
/// @param blockIds where to in the pool
record OffloadLoad(String requestId, BlockHash[] hashes, int[] blockIds, OffloadWorker worker) implements KvLoad {
    @Override
    public void start() {
        worker.startLoad(this);
    }
}
