package dev.baton.bench;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.BiConsumer;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A run's result as `vllm bench serve` prints and saves it: the block character for character, the JSON key for
/// key.
///
/// @param label prefix of the file name instead of the backend's name
/// @param tokenizerId name or folder of the tokenizer
/// @param selected metrics that are reported
/// @param hasGoodput whether there were objectives
public record ServingReport(
        String backend,
        Optional<String> label,
        String modelId,
        String tokenizerId,
        int numPrompts,
        Map<String, String> metadata,
        ArrivalProcess arrivals,
        OptionalInt maxConcurrency,
        List<Metric> selected,
        boolean hasGoodput,
        ServingMetrics metrics,
        List<RequestResult> results) {
    private static final int WIDTH = 50;

    /// The block, without a line end after its last line.
    public String text() {
        StringBuilder text = new StringBuilder();
        text.append(centred(" Serving Benchmark Result ", '=')).append('\n');
        line(text, "Successful requests:", metrics.completed());
        line(text, "Failed requests:", metrics.failed());
        if (maxConcurrency.isPresent()) {
            line(text, "Maximum request concurrency:", maxConcurrency.getAsInt());
        }
        if (Double.isFinite(arrivals.requestRate())) {
            line(text, "Request rate configured (RPS):", arrivals.requestRate());
        }
        line(text, "Benchmark duration (s):", metrics.durationSeconds());
        line(text, "Total input tokens:", metrics.totalInputTokens());
        line(text, "Total generated tokens:", metrics.totalOutputTokens());
        line(text, "Request throughput (req/s):", metrics.requestThroughput());
        if (hasGoodput) {
            line(text, "Request goodput (req/s):", metrics.requestGoodput());
        }
        line(text, "Output token throughput (tok/s):", metrics.outputThroughput());
        line(text, "Peak output token throughput (tok/s):", metrics.maxOutputTokensPerSecond());
        line(text, "Peak concurrent requests:", (double) metrics.maxConcurrentRequests());
        line(text, "Total token throughput (tok/s):", metrics.totalTokenThroughput());
        for (Metric metric : selected) {
            Distribution latency = metrics.latency(metric);
            text.append(centred(metric.title(), '-')).append('\n');
            line(text, "Mean " + metric.name() + " (ms):", latency.meanMillis());
            line(text, "Median " + metric.name() + " (ms):", latency.medianMillis());
            for (Distribution.Percentile percentile : latency.percentiles()) {
                line(text, "P" + percentile.label() + " " + metric.name() + " (ms):", percentile.millis());
            }
        }
        return text.append("=".repeat(WIDTH)).toString();
    }

    private static void line(StringBuilder text, String label, long value) {
        line(text, label, Long.toString(value));
    }

    private static void line(StringBuilder text, String label, double value) {
        line(text, label, String.format(Locale.ROOT, "%.2f", value));
    }

    private static void line(StringBuilder text, String label, String value) {
        text.append(String.format(Locale.ROOT, "%-40s %-10s\n", label, value));
    }

    /// Python's `{:-^50}`: if the padding is odd, the longer part is on the right.
    private static String centred(String title, char fill) {
        int padding = Math.max(0, WIDTH - title.length());
        String side = Character.toString(fill);
        return side.repeat(padding / 2) + title + side.repeat(padding - padding / 2);
    }

    /// The saved form.
    ///
    /// @param date `20261121-084828`
    /// @param detailed whether every request's figures are kept
    public ObjectNode json(String date, boolean detailed) {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("date", date);
        json.put("endpoint_type", backend);
        json.put("backend", backend);
        json.put("label", label.orElse(null));
        json.put("model_id", modelId);
        json.put("tokenizer_id", tokenizerId);
        json.put("num_prompts", numPrompts);
        metadata.forEach(json::put);
        if (Double.isFinite(arrivals.requestRate())) {
            json.put("request_rate", arrivals.requestRate());
        } else {
            json.put("request_rate", "inf");
        }
        json.put("burstiness", arrivals.burstiness());
        json.put("max_concurrency", maxConcurrency.isPresent() ? maxConcurrency.getAsInt() : null);
        json.put("duration", metrics.durationSeconds());
        json.put("completed", metrics.completed());
        json.put("failed", metrics.failed());
        json.put("total_input_tokens", metrics.totalInputTokens());
        json.put("total_output_tokens", metrics.totalOutputTokens());
        json.put("request_throughput", metrics.requestThroughput());
        json.put("request_goodput", hasGoodput ? metrics.requestGoodput() : null);
        json.put("output_throughput", metrics.outputThroughput());
        json.put("total_token_throughput", metrics.totalTokenThroughput());
        putRequests(json, detailed);
        json.put("max_output_tokens_per_s", metrics.maxOutputTokensPerSecond());
        json.put("max_concurrent_requests", metrics.maxConcurrentRequests());
        json.put("rtfx", 0.0); // real-time factor of audio: none here
        for (Metric metric : selected) {
            Distribution latency = metrics.latency(metric);
            json.put("mean_" + metric.key() + "_ms", latency.meanMillis());
            json.put("median_" + metric.key() + "_ms", latency.medianMillis());
            json.put("std_" + metric.key() + "_ms", latency.stdMillis());
            for (Distribution.Percentile percentile : latency.percentiles()) {
                json.put("p" + percentile.label() + "_" + metric.key() + "_ms", percentile.millis());
            }
        }
        return json;
    }

    /// vLLM leaves latencies and queue times in the file even without `--save-detailed`.
    private void putRequests(ObjectNode json, boolean detailed) {
        if (detailed) {
            fill(json, "input_lens", (array, result) -> array.add(result.promptTokens()));
            fill(json, "output_lens", (array, result) -> array.add(result.outputTokens()));
            fill(json, "ttfts", (array, result) -> array.add(result.ttftSeconds()));
            fill(json, "itls", (array, result) -> {
                ArrayNode itls = array.addArray();
                result.itlSeconds().forEach(itls::add);
            });
        }
        fill(json, "latencies", (array, result) -> array.add(result.latencySeconds()));
        if (detailed) {
            fill(json, "start_times", (array, result) -> array.add(result.startSeconds()));
        }
        fill(json, "queue_times", (array, result) -> array.add(result.queueSeconds()));
        if (detailed) {
            fill(json, "generated_texts", (array, result) -> array.add(result.text()));
            fill(json, "errors", (array, result) -> array.add(result.error()));
        }
    }

    private void fill(ObjectNode json, String key, BiConsumer<ArrayNode, RequestResult> add) {
        ArrayNode array = json.putArray(key);
        results.forEach(result -> add.accept(array, result));
    }

    /// `{label or backend}-{rate}qps[-concurrency{n}]-{model}-{date}.json`.
    public String fileName(String date) {
        String rate = Double.isFinite(arrivals.requestRate()) ? Double.toString(arrivals.requestRate()) : "inf";
        String concurrency = maxConcurrency.isPresent() ? "-concurrency" + maxConcurrency.getAsInt() : "";
        String model = modelId.substring(modelId.lastIndexOf('/') + 1);
        return "%s-%sqps%s-%s-%s.json".formatted(label.orElse(backend), rate, concurrency, model, date);
    }
}
