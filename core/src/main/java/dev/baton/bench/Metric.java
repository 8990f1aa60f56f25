package dev.baton.bench;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/// The latency metrics, in the order of the report.
public enum Metric {
    /// From sending a request to its first chunk with a choice.
    TTFT("Time to First Token"),
    /// Latency without TTFT, over the output tokens after the first.
    TPOT("Time per Output Token (excl. 1st token)"),
    /// Between two chunks of one stream.
    ITL("Inter-token Latency"),
    /// From sending a request to its last chunk with a choice.
    E2EL("End-to-end Latency");

    private final String title;

    Metric(String title) {
        this.title = title;
    }

    String title() {
        return title;
    }

    /// The name in flags and JSON keys.
    String key() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// Reads a list such as `ttft,tpot,itl,e2el`.
    public static List<Metric> parse(String names) {
        return Arrays.stream(names.split(","))
                .map(String::strip)
                .filter(name -> !name.isEmpty())
                .map(Metric::named)
                .sorted()
                .distinct()
                .toList();
    }

    static Metric named(String key) {
        for (Metric metric : values()) {
            if (metric.key().equals(key)) {
                return metric;
            }
        }
        throw new BenchException("There is no metric '%s': choose from ttft, tpot, itl, e2el.".formatted(key));
    }
}
