package dev.baton.transfer;

import java.util.List;

/// A way to exchange KV blocks with other instances, in vLLM's division: a scheduler side that decides and a
/// worker side that moves bytes.
public interface KvConnector extends AutoCloseable {
    /// The deciding side; engine thread only.
    SchedulerSide scheduler();

    /// The moving side; its methods return at once.
    WorkerSide worker();

    /// One line for the start banner, for example `TcpConnector kv_both on 127.0.0.1:45011`.
    String describe();

    /// What the connector has counted since it started; [KvTransferStats#ZERO] for one that does not count.
    default KvTransferStats stats() {
        return KvTransferStats.ZERO;
    }

    /// Closes sockets and threads; loads in flight fail, leases expire.
    @Override
    void close();

    /// Decides, per request, what to load and what to keep. Called by the engine's thread only; does no I/O.
    interface SchedulerSide {
        /// Tokens of the prompt that can be loaded beyond those that are cached here already.
        ///
        /// @param params the request's `kv_transfer_params`
        /// @param promptTokens length of the prompt
        /// @param numComputedTokens tokens of the prompt that the local prefix cache holds
        /// @return 0 if there is nothing to load
        int numNewMatchedTokens(String requestId, KvTransferParams params, int promptTokens, int numComputedTokens);

        /// Tells which blocks were allocated for the request; the load (or, with no external tokens, the
        /// release of the prefiller's lease) becomes part of the next [#takeLoads()].
        ///
        /// @param blockIds all blocks of the prompt, the cached ones first
        /// @param numComputedTokens tokens that the local prefix cache holds, a multiple of the block size
        void updateStateAfterAlloc(
                String requestId,
                KvTransferParams params,
                int[] blockIds,
                int numComputedTokens,
                int numExternalTokens);

        /// The loads decided on since the last call, for the worker side.
        List<KvLoad> takeLoads();

        /// Decides what becomes of the blocks of a request that ended, or that never got any.
        ///
        /// @param params the request's `kv_transfer_params`
        /// @param blockIds its blocks; those that hold `numComputedTokens` tokens, in order
        /// @param completed whether it ended by length or stop, not by abort or error
        KvHold requestFinished(
                String requestId, KvTransferParams params, int[] blockIds, int numComputedTokens, boolean completed);
    }

    /// Moves bytes between the pool and other instances, on threads of its own, and reports through the event
    /// sink that it was created with. Thread-safe.
    interface WorkerSide {
        /// Begins a load; ends in exactly one [KvEvent.KvArrived] or [KvEvent.KvFailed], unless it had no blocks to
        /// load.
        void startLoad(KvLoad load);

        /// Ends a load early; its [KvEvent.KvFailed] comes once nothing writes into its blocks any more. Tells the
        /// prefiller to release its lease.
        void cancelLoad(String requestId);

        /// Tells a prefiller that nobody will come for its blocks, for a request that was refused or aborted
        /// before a load.
        void release(KvTransferParams.RemotePrefill source);

        /// Ends the lease on a request that this instance holds, because its client is gone. Ends in a
        /// [KvEvent.LeaseReleased] once nobody reads; does nothing if there is no such lease.
        void dropLease(String requestId);

        /// Leases held now.
        int numLeases();

        /// Loads in flight now.
        int numLoads();
    }
}
