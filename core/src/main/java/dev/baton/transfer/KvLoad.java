package dev.baton.transfer;

/// One load that the scheduler side of a connector decided on and its worker side carries out.
public interface KvLoad {
    /// The request's id inside this instance.
    String requestId();

    /// Begins it; returns at once. Ends in exactly one [KvEvent.KvArrived] or [KvEvent.KvFailed], unless there was
    /// nothing to load.
    void start();
}
