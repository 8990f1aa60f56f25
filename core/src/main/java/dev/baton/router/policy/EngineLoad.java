package dev.baton.router.policy;

/// What an engine last said of its own load, whoever sent it.
///
/// @param atNanos `System.nanoTime()` of the answer; meaningless in [#UNKNOWN]
/// @param running requests that are computed (`vllm:num_requests_running`)
/// @param waiting requests that wait (`vllm:num_requests_waiting`)
/// @param kvCacheUsage blocks in use, 0 to 1 (`vllm:kv_cache_usage_perc`)
public record EngineLoad(long atNanos, int running, int waiting, double kvCacheUsage) {
    /// It has not said anything yet.
    public static final EngineLoad UNKNOWN = new EngineLoad(0, 0, 0, 0);

    /// Whether it has said anything.
    public boolean known() {
        return atNanos != UNKNOWN.atNanos;
    }
}
