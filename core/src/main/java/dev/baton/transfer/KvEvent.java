package dev.baton.transfer;

/// What the transfer room reports to the engine. The engine, never the transfer, frees blocks in answer to it.
public sealed interface KvEvent {
    /// The request's id inside this instance.
    String requestId();

    /// A load has ended, and every block of it that counts was right.
    ///
    /// @param numTokens tokens that arrived, beyond those that were computed before: as many as were wanted, or
    ///     fewer if a store held no more
    /// @param numBytes bytes received
    record KvArrived(String requestId, int numTokens, long numBytes) implements KvEvent {}

    /// A load ended without its blocks, because it failed or was cancelled. Nothing writes into its blocks any
    /// more.
    ///
    /// @param reason one sentence for the log
    record KvFailed(String requestId, String reason) implements KvEvent {}

    /// The prefiller has drawn the first token of a request whose load is under way: the prompt is computed there,
    /// and its blocks will come. At most one for each load, before its end, and perhaps none.
    record KvFirstToken(String requestId, int token) implements KvEvent {}

    /// A decoder has read what it wanted: nobody reads the held blocks any more.
    record LeaseReleased(String requestId) implements KvEvent {}

    /// A lease ran out before its decoder asked or renewed: nobody reads the held blocks any more.
    record LeaseExpired(String requestId) implements KvEvent {}
}
