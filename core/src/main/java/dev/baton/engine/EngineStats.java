package dev.baton.engine;

/// A snapshot of an engine's gauges and counters. Counters run from the engine's start.
///
/// @param numRunning requests in the batch
/// @param numWaiting requests that wait for their turn, loads in flight included
/// @param numHeld finished requests whose blocks wait for a decoder
/// @param numLoading requests whose blocks are on their way
/// @param prefixCacheQueriedTokens prompt tokens looked up in the local prefix cache
/// @param prefixCacheHitTokens those found
/// @param externalQueriedTokens prompt tokens asked of other instances
/// @param externalHitTokens those that arrived
/// @param promptTokens prompt tokens of requests whose prefill is complete
/// @param generationTokens tokens generated
/// @param kvLoadFailures loads that failed
/// @param numQueuedTokens prompt tokens of requests that have not had their first turn
/// @param corruptedRequests requests that ended because the model's logits were not finite
public record EngineStats(
        int numRunning,
        int numWaiting,
        int numHeld,
        int numLoading,
        BlockUsage blocks,
        long steps,
        long preemptions,
        long prefixCacheQueriedTokens,
        long prefixCacheHitTokens,
        long externalQueriedTokens,
        long externalHitTokens,
        long promptTokens,
        long generationTokens,
        long kvLoadFailures,
        long numQueuedTokens,
        long corruptedRequests) {}
