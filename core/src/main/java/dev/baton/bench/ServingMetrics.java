package dev.baton.bench;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/// The figures of a run, with the definitions of `vllm bench serve`.
///
/// @param requestGoodput requests a second that met every objective
/// @param maxOutputTokensPerSecond chunks in the fullest second, counted from the first request
/// @param maxConcurrentRequests most requests under way at one moment. vLLM 0.32 counts all that were under way
///     within the same second instead; later versions count as here.
public record ServingMetrics(
        double durationSeconds,
        int completed,
        int failed,
        long totalInputTokens,
        long totalOutputTokens,
        double requestThroughput,
        double requestGoodput,
        double outputThroughput,
        double totalTokenThroughput,
        double maxOutputTokensPerSecond,
        int maxConcurrentRequests,
        Map<Metric, Distribution> latencies) {

    /// The distribution of one metric.
    public Distribution latency(Metric metric) {
        return Objects.requireNonNull(latencies.get(metric));
    }

    /// Computes the figures.
    ///
    /// @param results one a request, failed ones too
    /// @param percents percentiles to compute, in [0, 100]
    public static ServingMetrics of(
            List<RequestResult> results, double durationSeconds, List<Double> percents, Goodput goodput) {
        List<RequestResult> good =
                results.stream().filter(RequestResult::success).toList();
        long input = good.stream().mapToLong(RequestResult::promptTokens).sum();
        long output = good.stream().mapToLong(RequestResult::outputTokens).sum();
        long met = goodput.isSet() ? good.stream().filter(goodput::isGood).count() : 0;
        Map<Metric, Distribution> latencies = new EnumMap<>(Metric.class);
        for (Metric metric : Metric.values()) {
            latencies.put(metric, Distribution.of(samples(metric, good), percents));
        }
        return new ServingMetrics(
                durationSeconds,
                good.size(),
                results.size() - good.size(),
                input,
                output,
                good.size() / durationSeconds,
                met / durationSeconds,
                output / durationSeconds,
                (input + output) / durationSeconds,
                maxOutputTokensPerSecond(good),
                maxConcurrentRequests(good),
                latencies);
    }

    private static double[] samples(Metric metric, List<RequestResult> good) {
        return switch (metric) {
            case TTFT -> good.stream().mapToDouble(RequestResult::ttftSeconds).toArray();
            case TPOT ->
                good.stream()
                        .filter(result -> result.outputTokens() > 1)
                        .mapToDouble(RequestResult::tpotSeconds)
                        .toArray();
            case ITL ->
                good.stream()
                        .flatMap(result -> result.itlSeconds().stream())
                        .mapToDouble(Double::doubleValue)
                        .toArray();
            case E2EL ->
                good.stream().mapToDouble(RequestResult::latencySeconds).toArray();
        };
    }

    private static double maxOutputTokensPerSecond(List<RequestResult> good) {
        double begin =
                good.stream().mapToDouble(RequestResult::startSeconds).min().orElse(0);
        double end = good.stream().mapToDouble(RequestResult::endSeconds).max().orElse(0);
        int[] tokens = new int[(int) Math.ceil(end - begin) + 1];
        for (RequestResult result : good) {
            double time = result.startSeconds() + result.ttftSeconds() - begin;
            tokens[(int) time]++;
            for (double itl : result.itlSeconds()) {
                time += itl;
                tokens[Math.min((int) time, tokens.length - 1)]++;
            }
        }
        int most = 0;
        for (int count : tokens) {
            most = Math.max(most, count);
        }
        return most;
    }

    private static int maxConcurrentRequests(List<RequestResult> good) {
        record Event(double time, int change) {}
        List<Event> events = new ArrayList<>();
        for (RequestResult result : good) {
            events.add(new Event(result.startSeconds(), 1));
            events.add(new Event(result.endSeconds(), -1));
        }
        events.sort(Comparator.comparingDouble(Event::time).thenComparingInt(Event::change));
        int now = 0;
        int most = 0;
        for (Event event : events) {
            now += event.change();
            most = Math.max(most, now);
        }
        return most;
    }
}
