package dev.baton.transfer;

/// What becomes of the blocks of a finished request, by the decision of the scheduler side.
public sealed interface KvHold {
    /// The engine frees them at once.
    record FreeNow() implements KvHold {}

    /// The engine keeps them until a [KvEvent.LeaseReleased] or [KvEvent.LeaseExpired] for the request.
    ///
    /// @param params what the decoder needs, for the prefiller's answer
    record UnderLease(KvTransferParams.RemotePrefill params) implements KvHold {}
}
