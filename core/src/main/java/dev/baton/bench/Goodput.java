package dev.baton.bench;

import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/// Service level objectives: a request is good if it stays within every one of them.
///
/// @param limitMillis longest TTFT, TPOT or end-to-end latency
public record Goodput(Map<Metric, Double> limitMillis) {
    public Goodput {
        limitMillis = Map.copyOf(limitMillis);
    }

    /// No objectives; then no goodput is reported.
    public static Goodput none() {
        return new Goodput(Map.of());
    }

    /// Reads pairs such as `ttft:200`, in milliseconds.
    public static Goodput parse(List<String> pairs) {
        Map<Metric, Double> limits = new EnumMap<>(Metric.class);
        for (String pair : pairs) {
            int colon = pair.indexOf(':');
            Metric metric = Metric.named(colon < 0 ? pair : pair.substring(0, colon));
            if (metric == Metric.ITL) {
                throw new BenchException("--goodput takes ttft, tpot and e2el, not itl: it judges whole requests.");
            }
            limits.put(metric, limit(pair, colon));
        }
        return new Goodput(limits);
    }

    private static double limit(String pair, int colon) {
        try {
            double millis = Double.parseDouble(pair.substring(colon + 1));
            if (colon > 0 && millis >= 0) {
                return millis;
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new BenchException("--goodput %s is no METRIC:MILLISECONDS such as ttft:200.".formatted(pair));
    }

    boolean isSet() {
        return !limitMillis.isEmpty();
    }

    boolean isGood(RequestResult result) {
        return limitMillis.entrySet().stream().allMatch(limit -> {
            double seconds = switch (limit.getKey()) {
                case TTFT -> result.ttftSeconds();
                case TPOT -> result.tpotSeconds();
                case E2EL -> result.latencySeconds();
                case ITL -> throw new IllegalStateException("goodput over itl");
            };
            return seconds <= limit.getValue() / 1000;
        });
    }
}
