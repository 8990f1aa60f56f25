package dev.baton.router.policy;

/// What an engine last said of its own load, whoever sent it.
///
/// @param atNanos `System.nanoTime()` of the answer; meaningless in [#UNKNOWN]
/// @param running requests that are computed (`vllm:num_requests_running`)
/// @param waiting requests that wait (`vllm:num_requests_waiting`)
/// @param kvCacheUsage blocks in use, 0 to 1 (`vllm:kv_cache_usage_perc`)
/// @param counts what it has counted since it started; two answers give rates
public record EngineLoad(long atNanos, int running, int waiting, double kvCacheUsage, Counts counts) {
    /// It has not said anything yet.
    public static final EngineLoad UNKNOWN = new EngineLoad(0, 0, 0, 0);

    /// Totals since the engine started, each -1 if it does not say. They fall when it starts again.
    ///
    /// @param steps steps with output (`vllm:iteration_tokens_total_count`)
    /// @param promptTokens prompt tokens of requests (`vllm:prompt_tokens_total`), computed or not
    /// @param generationTokens tokens generated (`vllm:generation_tokens_total`)
    /// @param cachedTokens prompt tokens found in its own prefix cache (`vllm:prefix_cache_hits_total`)
    /// @param externalTokens prompt tokens that came from another engine (`vllm:external_prefix_cache_hits_total`)
    public record Counts(long steps, long promptTokens, long generationTokens, long cachedTokens, long externalTokens) {
        /// It says none of them.
        public static final Counts UNKNOWN = new Counts(-1, -1, -1, -1, -1);
    }

    /// A load without counts.
    public EngineLoad(long atNanos, int running, int waiting, double kvCacheUsage) {
        this(atNanos, running, waiting, kvCacheUsage, Counts.UNKNOWN);
    }

    /// Whether it has said anything.
    public boolean known() {
        return atNanos != UNKNOWN.atNanos;
    }
}
