package dev.baton.transfer.tcp;

import dev.baton.transfer.KvLoad;
import dev.baton.transfer.RemotePrefill;

/// Blocks to take from a prefiller.
///
/// @param source where they lie
/// @param firstBlock index, in the request's block list, of the first block to load; the ones before are cached
///     here
/// @param localBlockIds blocks to fill, for `source.blockIds()[firstBlock ...]`, in order; empty if everything is
///     cached here: the prefiller's lease is only released then
/// @param numTokens tokens that they hold
/// @param promptTokenIds the request's tokens; not to be changed
record TcpLoad(
        String requestId,
        RemotePrefill source,
        int firstBlock,
        int[] localBlockIds,
        int numTokens,
        int[] promptTokenIds,
        TcpWorker worker)
        implements KvLoad {
    @Override
    public void start() {
        worker.startLoad(this);
    }
}
