package dev.baton.router;

import dev.baton.router.policy.EngineLoad;

/// What the router reads in an engine's `GET /metrics`: its load, and what shows that it computes. Knows the names
/// of vLLM and Baton, which are the same, and SGLang's. Several series of a name (data-parallel ranks, models) are
/// summed; of the usage of the KV cache, the largest counts. Immutable and thread-safe.
///
/// @param steps steps with output; -1 if it does not say, as in every count here
/// @param startSeconds when the process started, in Unix time; -1 if it does not say
record EngineSample(
        long steps,
        long promptTokens,
        long generationTokens,
        long running,
        long waiting,
        double kvCacheUsage,
        long queriedTokens,
        long cachedTokens,
        long externalTokens,
        double startSeconds) {

    /// An engine that says nothing, or is not asked.
    static final EngineSample NONE = new EngineSample(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1);

    static EngineSample parse(String text) {
        Reader reader = new Reader();
        MetricsText.read(text, reader);
        return reader.sample();
    }

    /// Whether it counts what it computes.
    boolean counts() {
        return steps >= 0 || promptTokens >= 0 || generationTokens >= 0;
    }

    /// Whether it says that it has nothing to do.
    boolean idle() {
        return running >= 0 && running + Math.max(0, waiting) == 0;
    }

    /// Whether it has computed since `before`. The numbers of requests and the usage of its KV cache come from its
    /// loop too, and move also in steps without output, as those of a long prompt's chunks are.
    boolean movedSince(EngineSample before) {
        return steps != before.steps
                || promptTokens != before.promptTokens
                || generationTokens != before.generationTokens
                || running != before.running
                || waiting != before.waiting
                || queriedTokens != before.queriedTokens
                || kvCacheUsage != before.kvCacheUsage;
    }

    /// Whether it is another process than `before`: its counters begin again.
    boolean restartedSince(EngineSample before) {
        return startSeconds != before.startSeconds
                || steps < before.steps
                || promptTokens < before.promptTokens
                || generationTokens < before.generationTokens;
    }

    /// For policies.
    EngineLoad load(long atNanos) {
        return new EngineLoad(
                atNanos,
                (int) Math.max(0, running),
                (int) Math.max(0, waiting),
                Math.max(0, kvCacheUsage),
                new EngineLoad.Counts(steps, promptTokens, generationTokens, cachedTokens, externalTokens));
    }

    private static final class Reader implements MetricsText.Visitor {
        private double steps = -1;
        private double promptTokens = -1;
        private double generationTokens = -1;
        private double running = -1;
        private double waiting = -1;
        private double kvCacheUsage = -1;
        private double queriedTokens = -1;
        private double cachedTokens = -1;
        private double externalTokens = -1;
        private double startSeconds = -1;

        @Override
        public boolean wants(String name) {
            return (name.indexOf(':') > 0 && !name.endsWith("_bucket")) || name.equals("process_start_time_seconds");
        }

        @Override
        public void sample(String name, String labels, double value) {
            if (!(value >= 0) || Double.isInfinite(value)) {
                return;
            }
            switch (name) {
                case "vllm:iteration_tokens_total_count" -> steps = sum(steps, value);
                case "vllm:prompt_tokens_total", "sglang:prompt_tokens_total" ->
                    promptTokens = sum(promptTokens, value);
                case "vllm:generation_tokens_total", "sglang:generation_tokens_total" ->
                    generationTokens = sum(generationTokens, value);
                case "vllm:num_requests_running", "sglang:num_running_reqs" -> running = sum(running, value);
                case "vllm:num_requests_waiting", "sglang:num_queue_reqs" -> waiting = sum(waiting, value);
                case "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage" ->
                    kvCacheUsage = Math.max(kvCacheUsage, value);
                case "vllm:prefix_cache_queries_total" -> queriedTokens = sum(queriedTokens, value);
                case "vllm:prefix_cache_hits_total", "sglang:cached_tokens_total" ->
                    cachedTokens = sum(cachedTokens, value);
                case "vllm:external_prefix_cache_hits_total" -> externalTokens = sum(externalTokens, value);
                case "process_start_time_seconds" -> startSeconds = value;
                default -> {}
            }
        }

        private static double sum(double before, double value) {
            return Math.max(0, before) + value;
        }

        private EngineSample sample() {
            return new EngineSample(
                    (long) steps,
                    (long) promptTokens,
                    (long) generationTokens,
                    (long) running,
                    (long) waiting,
                    kvCacheUsage,
                    (long) queriedTokens,
                    (long) cachedTokens,
                    (long) externalTokens,
                    startSeconds);
        }
    }
}
