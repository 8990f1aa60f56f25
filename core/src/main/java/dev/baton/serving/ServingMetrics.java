package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.engine.EngineException;
import dev.baton.engine.EngineStats;
import dev.baton.engine.RequestOutput;
import dev.baton.metrics.Metrics;
import dev.baton.metrics.ProcessMetrics;
import dev.baton.openai.GenerationOptions;
import dev.baton.transfer.KvTransferStats;
import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.Histogram;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.function.ToLongFunction;

/// The instance's metrics under vLLM's names: the engine's counters, read when asked for, and what the server
/// measures of each sequence. Thread-safe.
final class ServingMetrics {
    private static final double NANOS = 1e9;
    private static final double[] TTFT_SECONDS = {
        .001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560
    };
    private static final double[] TOKEN_SECONDS = {
        .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80
    };
    private static final double[] REQUEST_SECONDS = {
        .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680
    };

    private final Metrics metrics;
    private final Engine engine;
    private final Histogram timeToFirstToken;
    private final Histogram interTokenLatency;
    private final Histogram timePerOutputToken;
    private final Histogram e2eLatency;
    private final Histogram promptTokens;
    private final Histogram generationTokens;
    private final Histogram maxTokens;
    private final Histogram choices;
    private final Histogram maxGenerationTokens;
    private final Histogram queueTime;
    private final Histogram prefillTime;
    private final Histogram decodeTime;
    private final Histogram inferenceTime;
    private final Histogram preemptions;
    private final Histogram prefillComputedTokens;
    private final Counter finished;
    private final Counter promptTokensBySource;
    private final Counter rejected;
    private final Counter toolCallParses;
    private final HttpMetrics http;

    ServingMetrics(String modelName, Engine engine) {
        this.engine = engine;
        this.metrics = new Metrics(Map.of("model_name", modelName, "engine", "0"));
        int context = engine.config().maxModelLen();
        timeToFirstToken = metrics.histogram(
                "vllm:time_to_first_token_seconds", "Time from arrival to the first token.", TTFT_SECONDS);
        interTokenLatency = metrics.histogram(
                "vllm:inter_token_latency_seconds", "Time between two outputs of a sequence.", TOKEN_SECONDS);
        timePerOutputToken = metrics.histogram(
                "vllm:request_time_per_output_token_seconds",
                "Mean time per token of a sequence, the first excluded.",
                TOKEN_SECONDS);
        e2eLatency = metrics.histogram(
                "vllm:e2e_request_latency_seconds", "Time from arrival to the last token.", REQUEST_SECONDS);
        double[] tokens = Metrics.oneTwoFive(context);
        promptTokens = metrics.histogram("vllm:request_prompt_tokens", "Prompt tokens of a sequence.", tokens);
        generationTokens =
                metrics.histogram("vllm:request_generation_tokens", "Tokens generated for a sequence.", tokens);
        maxTokens = metrics.histogram("vllm:request_params_max_tokens", "max_tokens of a request.", tokens);
        choices = metrics.histogram("vllm:request_params_n", "n of a request.", 1, 2, 5, 10, 20);
        maxGenerationTokens = metrics.histogram(
                "vllm:request_max_num_generation_tokens", "Tokens of a request's longest choice.", tokens);
        queueTime = requestTime("queue", "Time from submission to the first turn.");
        prefillTime = requestTime("prefill", "Time from the first turn to the first token.");
        decodeTime = requestTime("decode", "Time from the first token to the last.");
        inferenceTime = requestTime("inference", "Time from the first turn to the last token.");
        preemptions = metrics.histogram(
                "vllm:request_num_preemptions", "Times that a sequence was put back.", 0, 1, 2, 5, 10, 20, 50, 100);
        prefillComputedTokens = metrics.histogram(
                "vllm:request_prefill_kv_computed_tokens",
                "Prompt tokens that were computed here, neither cached nor transferred.",
                tokens);
        finished = metrics.counter("vllm:request_success", "Sequences that ended, by reason.", "finished_reason");
        promptTokensBySource = metrics.counter(
                "vllm:prompt_tokens_by_source", "Prompt tokens by where their KV blocks came from.", "source");
        rejected =
                metrics.counter("vllm:admission_rejections", "Requests refused because the server was full.", "reason");
        toolCallParses = metrics.counter(
                "vllm:tool_call_parser_invocations",
                "Choices that were looked through for calls of tools.",
                "mode",
                "outcome",
                "request_type");
        for (String mode : List.of("streaming", "non_streaming")) {
            for (String outcome : List.of("tool_call", "no_tool_call")) {
                toolCallParses.initLabelValues(mode, outcome, "chat_completions");
            }
        }
        http = new HttpMetrics(metrics);
        List.of("stop", "length", "abort", "error", "repetition").forEach(finished::initLabelValues);
        List.of("local_compute", "local_cache_hit", "external_kv_transfer")
                .forEach(promptTokensBySource::initLabelValues);
        for (EngineException.QueueFull.Limit limit : EngineException.QueueFull.Limit.values()) {
            rejected.initLabelValues(reason(limit));
        }
        ProcessMetrics.addTo(metrics);
        engineMetrics();
    }

    private Histogram requestTime(String phase, String help) {
        return metrics.histogram("vllm:request_" + phase + "_time_seconds", help, REQUEST_SECONDS);
    }

    private void engineMetrics() {
        gauge("vllm:num_requests_running", "Sequences in the batch.", EngineStats::numRunning);
        gauge("vllm:num_requests_waiting", "Sequences that wait for their turn.", EngineStats::numWaiting);
        metrics.gauge(
                "vllm:num_requests_waiting_by_reason",
                "Sequences that wait, by what for.",
                "reason",
                Map.of(
                        "capacity",
                        () -> engine.stats().numWaiting() - engine.stats().numLoading(),
                        "deferred",
                        () -> engine.stats().numLoading()));
        gauge("vllm:kv_cache_usage_perc", "Share of the KV cache's blocks in use, 1 for all.", ServingMetrics::usage);
        counter("vllm:prefix_cache_queries", "Tokens looked up.", EngineStats::prefixCacheQueriedTokens);
        counter("vllm:prefix_cache_hits", "Tokens found.", EngineStats::prefixCacheHitTokens);
        counter(
                "vllm:external_prefix_cache_queries",
                "Tokens asked of other instances.",
                EngineStats::externalQueriedTokens);
        counter(
                "vllm:external_prefix_cache_hits",
                "Tokens that arrived from other instances.",
                EngineStats::externalHitTokens);
        counter(
                "vllm:prompt_tokens_cached",
                "Prompt tokens that were not computed here.",
                stats -> stats.prefixCacheHitTokens() + stats.externalHitTokens());
        metrics.counter(
                "vllm:prompt_tokens_cached_by_source",
                "Prompt tokens that were not computed here, by the tier that had them.",
                "source",
                Map.of(
                        "device", () -> engine.stats().prefixCacheHitTokens(),
                        "p2p", () -> engine.stats().externalHitTokens()));
        counter("vllm:corrupted_requests", "Sequences with logits that are no number.", EngineStats::corruptedRequests);
        metrics.histogram("vllm:iteration_tokens_total", "Tokens computed a step.", engine.iterationTokens());
        metrics.gauge(
                "vllm:engine_sleep_state",
                "Whether the engine is awake: always.",
                "sleep_state",
                Map.of("awake", () -> 1, "weights_offloaded", () -> 0, "discard_all", () -> 0));
        counter("vllm:num_preemptions", "Sequences that were put back.", EngineStats::preemptions);
        counter("vllm:prompt_tokens", "Prompt tokens prefilled.", EngineStats::promptTokens);
        counter("vllm:generation_tokens", "Tokens generated.", EngineStats::generationTokens);
        counter("baton:engine_steps", "Steps of the engine.", EngineStats::steps);
        counter("baton:kv_load_failures", "Loads of KV blocks that failed.", EngineStats::kvLoadFailures);
        gauge("baton:num_requests_held", "Finished sequences whose blocks wait for a decoder.", EngineStats::numHeld);
        metrics.gauge(
                "baton:kv_blocks",
                "Blocks of the KV cache, by state.",
                "state",
                Map.of(
                        "free",
                        () -> engine.stats().blocks().free(),
                        "cached",
                        () -> engine.stats().blocks().cached(),
                        "in_use",
                        () -> engine.stats().blocks().inUse()));
        transferMetrics();
        EngineConfig config = engine.config();
        metrics.facts(
                "vllm:cache_config_info",
                "How the KV cache is set up.",
                Map.of(
                        "block_size",
                        Integer.toString(config.blockTokens()),
                        "num_gpu_blocks",
                        Integer.toString(config.numBlocks()),
                        "kv_cache_size_tokens",
                        Integer.toString(config.numBlocks() * config.blockTokens()),
                        "enable_prefix_caching",
                        config.enablePrefixCaching() ? "True" : "False"));
    }

    /// Under the names that vLLM gives to what its NIXL connector counts.
    private void transferMetrics() {
        if (engine.config().kvTransfer().isEmpty()) {
            return;
        }
        transfer("vllm:nixl_num_failed_transfers", "Loads that failed.", KvTransferStats::numFailedTransfers);
        transfer(
                "vllm:nixl_num_failed_notifications",
                "Releases and heartbeats that could not be delivered.",
                KvTransferStats::numFailedNotifications);
        transfer("vllm:nixl_num_kv_expired_reqs", "Leases that ran out.", KvTransferStats::numKvExpiredReqs);
        transfer("baton:kv_transfers", "Loads that ended well.", KvTransferStats::numTransfers);
        transfer("baton:kv_received_bytes", "Bytes of blocks received.", KvTransferStats::bytesTransferred);
        transfer("baton:kv_sent_bytes", "Bytes of blocks sent.", KvTransferStats::bytesSent);
        transfer("baton:kv_checksum_errors", "Blocks with a wrong checksum.", KvTransferStats::numChecksumErrors);
        engine.addTransferMetrics(metrics);
    }

    private void transfer(String name, String help, ToLongFunction<KvTransferStats> value) {
        metrics.counter(name, help, () -> value.applyAsLong(engine.transferStats()));
    }

    static double usage(EngineStats stats) {
        return stats.blocks().total() == 0
                ? 0
                : (double) stats.blocks().inUse() / stats.blocks().total();
    }

    private void gauge(String name, String help, ToDoubleFunction<EngineStats> value) {
        metrics.gauge(name, help, () -> value.applyAsDouble(engine.stats()));
    }

    private void counter(String name, String help, ToLongFunction<EngineStats> value) {
        metrics.counter(name, help, () -> value.applyAsLong(engine.stats()));
    }

    byte[] text() {
        return metrics.text();
    }

    void accepted(GenerationOptions options) {
        choices.observe(options.n());
        options.maxTokens().ifPresent(maxTokens::observe);
    }

    /// Notes that a choice was looked through for calls of tools.
    void toolCallsParsed(boolean streaming, boolean called) {
        toolCallParses
                .labelValues(
                        streaming ? "streaming" : "non_streaming",
                        called ? "tool_call" : "no_tool_call",
                        "chat_completions")
                .inc();
    }

    HttpMetrics http() {
        return http;
    }

    /// Notes the end of a request, all of its sequences together.
    void completed(List<Sequence> sequences) {
        maxGenerationTokens.observe(
                sequences.stream().mapToInt(Sequence::numTokens).max().orElse(0));
    }

    /// Notes a request that was refused, by the flag that set the limit, in vLLM's spelling.
    void rejected(EngineException.QueueFull.Limit limit) {
        rejected.labelValues(reason(limit)).inc();
    }

    private static String reason(EngineException.QueueFull.Limit limit) {
        return switch (limit) {
            case REQUESTS -> "max_num_queued_reqs";
            case PROMPT_TOKENS -> "max_num_queued_tokens";
        };
    }

    void firstToken(long nanosSinceArrival) {
        timeToFirstToken.observe(nanosSinceArrival / NANOS);
    }

    void nextOutput(long nanosSinceLast) {
        interTokenLatency.observe(nanosSinceLast / NANOS);
    }

    /// Notes a sequence that came to no proper end. Only the reason counts: its times and lengths say nothing about
    /// how fast the instance serves.
    ///
    /// @param reason `error` or `abort`
    void broken(String reason) {
        finished.labelValues(reason).inc();
    }

    /// Notes the proper end of a sequence.
    ///
    /// @param decodeNanos time from the first token to the last
    void finished(String reason, RequestOutput.Finish finish, int generated, long totalNanos, long decodeNanos) {
        finished.labelValues(reason).inc();
        e2eLatency.observe(totalNanos / NANOS);
        promptTokens.observe(finish.promptTokens());
        generationTokens.observe(generated);
        if (generated > 1) {
            timePerOutputToken.observe(decodeNanos / NANOS / (generated - 1));
        }
        RequestOutput.Timings timings = finish.timings();
        queueTime.observe(timings.queuedNanos() / NANOS);
        prefillTime.observe(timings.prefillNanos() / NANOS);
        decodeTime.observe(timings.decodeNanos() / NANOS);
        inferenceTime.observe((timings.prefillNanos() + timings.decodeNanos()) / NANOS);
        preemptions.observe(timings.numPreemptions());
        int computed = finish.promptTokens() - finish.cachedTokens() - finish.externalTokens();
        prefillComputedTokens.observe(computed);
        promptTokensBySource.labelValues("local_compute").inc(computed);
        promptTokensBySource.labelValues("local_cache_hit").inc(finish.cachedTokens());
        promptTokensBySource.labelValues("external_kv_transfer").inc(finish.externalTokens());
    }
}
