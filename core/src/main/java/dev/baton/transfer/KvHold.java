package dev.baton.transfer;

/// What becomes of the blocks of a finished request, by the decision of the scheduler side, and what its client (a
/// router, in most cases) is told.
public sealed interface KvHold {
    /// The `kv_transfer_params` of the answer; [KvTransferParams#NONE] if it has none.
    KvTransferParams answer();

    /// The engine frees them at once.
    record FreeNow(KvTransferParams answer) implements KvHold {
        /// With nothing to tell.
        public FreeNow() {
            this(KvTransferParams.NONE);
        }
    }

    /// The engine keeps them until a [KvEvent.LeaseReleased] or [KvEvent.LeaseExpired] for the request.
    record UnderLease(KvTransferParams answer) implements KvHold {}
}
