package dev.baton.transfer;

import dev.baton.metrics.Metrics;
import java.util.List;
import java.util.Optional;

/// A way to exchange KV blocks with other instances or with stores, in vLLM's division: a scheduler side that
/// decides and a worker side that moves bytes.
public interface KvConnector extends AutoCloseable {
    /// The deciding side; engine thread only.
    SchedulerSide scheduler();

    /// The moving side; its methods return at once.
    WorkerSide worker();

    /// One line for the start banner, for example `TcpConnector kv_both on 127.0.0.1:45011`.
    String describe();

    /// Where other instances' connectors find this one before any request names it; empty if they do not need to.
    default Optional<KvPeer> peer() {
        return Optional.empty();
    }

    /// What the connector has counted since it started; [KvTransferStats#ZERO] for one that does not count.
    default KvTransferStats stats() {
        return KvTransferStats.ZERO;
    }

    /// Adds what the connector counts beside [#stats()], under the names that the field has for it. Called once at
    /// most.
    default void addTo(Metrics metrics) {}

    /// Closes sockets and threads; loads in flight fail, leases expire.
    @Override
    void close();

    /// Decides, per request, what to load, what to save and what to keep. Called by the engine's thread only;
    /// does no I/O. Is asked about every request, whether or not it says anything about a hand-off.
    interface SchedulerSide {
        /// Tokens that might be loaded beyond those that are cached here already. The load may bring fewer
        /// ([KvEvent.KvArrived#numTokens]), so a connector that would have to ask a store first says the most
        /// that there can be.
        ///
        /// Asked when a request has to wait (with 0 computed tokens), and once more when blocks are there for
        /// it.
        ///
        /// @param numComputedTokens tokens of the request that the local prefix cache holds
        /// @return 0 if there is nothing to load
        int numNewMatchedTokens(KvRequest request, int numComputedTokens);

        /// Tells which blocks were allocated for the request; the load (or, with no external tokens, the
        /// release of the prefiller's lease) becomes part of the next [#takeLoads()].
        ///
        /// @param blockIds all blocks of the tokens it came with, the cached ones first
        /// @param numComputedTokens tokens that the local prefix cache holds, a multiple of the block size
        void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens);

        /// The loads decided on since the last call; the engine starts each.
        List<KvLoad> takeLoads();

        /// Whether [#numNewMatchedTokens] says the most that there can be, and a load finds out.
        default boolean asksStores() {
            return false;
        }

        /// Whether [#computed] is to be called.
        default boolean saves() {
            return false;
        }

        /// Keys and values of more of a request's given tokens are in its blocks, and final: full ones may be read
        /// until [#preempted] or [#requestFinished] for the request.
        ///
        /// @param blockIds its blocks in order
        /// @param numComputedTokens tokens that they hold, at most [KvRequest#numTokens()]
        default void computed(KvRequest request, int[] blockIds, int numComputedTokens) {}

        /// Whether [#computing] and [#layerComputed] are to be called now.
        default boolean pushes() {
            return false;
        }

        /// A step is about to compute tokens that a request came with.
        ///
        /// @param blockIds its blocks in order
        /// @param numComputedTokens tokens whose keys and values they hold already
        /// @param endTokens tokens that they will hold after the step
        default void computing(KvRequest request, int[] blockIds, int numComputedTokens, int endTokens) {}

        /// The step has written the keys and values of all its tokens for the layers up to this one. They may
        /// be read until [#preempted] or [#requestFinished]; whether they can be trusted is known only by a
        /// request that ends as completed.
        default void layerComputed(int layer) {}

        /// The blocks of a request are given to others: once this returns nothing may read them any more. Waits at
        /// most for the copy of one block.
        default void preempted(KvRequest request) {}

        /// Decides what becomes of the blocks of a request that ended, or that never got any. Called once for each
        /// request.
        KvHold requestFinished(KvFinished finished);
    }

    /// Moves bytes between the pool and elsewhere, on threads of its own, and reports through the event sink
    /// that it was created with. Thread-safe.
    interface WorkerSide {
        /// Ends a load early; its [KvEvent.KvFailed] comes once nothing writes into its blocks any more. Tells the
        /// prefiller to release its lease.
        void cancelLoad(String requestId);

        /// Tells a prefiller that nobody will come for the blocks that these parameters name, for a request
        /// that was refused before the engine had it. Does nothing if they name none.
        void release(KvTransferParams params);

        /// Gets to know an instance that will give blocks, so that the first load need not: connects and shakes
        /// hands, and stays connected. What goes wrong is found again by the load. Does nothing for one that
        /// nobody can connect to.
        default void connect(KvPeer peer) {}

        /// Ends the lease on a request that this instance holds, because its client is gone. Ends in a
        /// [KvEvent.LeaseReleased] once nobody reads; does nothing if there is no such lease.
        void dropLease(String requestId);

        /// Leases held now.
        int numLeases();

        /// Loads in flight now.
        int numLoads();
    }
}
