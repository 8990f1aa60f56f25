package dev.baton.router;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// Times to the prefiller's answer, per prefiller, and their report in the form of LMCache's proxies: average,
/// median and 99th percentile (linear interpolation, as `numpy.percentile`) in milliseconds.
///
/// Kept for each prefiller are its last [#WINDOW] values, few enough to be sorted on an event loop; the number of
/// requests counts all, also older ones. Thread-safe.
final class TtftStats {
    /// Values a prefiller is reported over.
    static final int WINDOW = 4096;

    private static final String RULER = "=".repeat(31);

    private final List<Window> prefillers = new ArrayList<>(); // by index
    private long forgottenRequests;
    private long reportedRequests;

    /// Average, median and 99th percentile.
    record Summary(long requests, double averageMillis, double medianMillis, double p99Millis) {}

    private static final class Window {
        private double[] millis = new double[64];
        private long count;

        private void add(double value) {
            if (count == millis.length && millis.length < WINDOW) {
                millis = Arrays.copyOf(millis, Math.min(WINDOW, 2 * millis.length));
            }
            millis[(int) (count++ % millis.length)] = value;
        }

        private Summary summary() {
            double[] sorted = Arrays.copyOf(millis, (int) Math.min(count, millis.length));
            Arrays.sort(sorted);
            double average = Arrays.stream(sorted).average().orElse(Double.NaN);
            return new Summary(count, average, percentile(sorted, 50), percentile(sorted, 99));
        }
    }

    /// Adds one value.
    ///
    /// @param prefiller index, from 0
    synchronized void add(int prefiller, double millis) {
        while (prefillers.size() <= prefiller) {
            prefillers.add(new Window());
        }
        prefillers.get(prefiller).add(millis);
    }

    /// Drops a prefiller's values: another one gets its index. Its requests stay counted.
    synchronized void forget(int prefiller) {
        if (prefiller < prefillers.size()) {
            forgottenRequests += prefillers.get(prefiller).count;
            prefillers.set(prefiller, new Window());
        }
    }

    /// What one prefiller's values say; empty if it has none.
    synchronized Optional<Summary> summary(int prefiller) {
        return prefiller < prefillers.size() && prefillers.get(prefiller).count > 0
                ? Optional.of(prefillers.get(prefiller).summary())
                : Optional.empty();
    }

    /// The report, if requests came since the last one.
    synchronized Optional<String> reportIfTraffic() {
        long requests = forgottenRequests;
        List<String> lines = new ArrayList<>();
        for (int i = 0; i < prefillers.size(); i++) {
            Window window = prefillers.get(i);
            requests += window.count;
            if (window.count > 0) {
                Summary summary = window.summary();
                lines.add("Prefiller " + (i + 1) + " TTFT stats:");
                lines.add(line("Average", summary.averageMillis()));
                lines.add(line("Median", summary.medianMillis()));
                lines.add(line("99th Percentile", summary.p99Millis()));
            }
        }
        if (requests == reportedRequests) {
            return Optional.empty();
        }
        reportedRequests = requests;
        lines.addFirst("Num requests: " + requests);
        lines.addFirst(RULER);
        lines.add(RULER);
        return Optional.of("\n" + String.join("\n", lines));
    }

    private static String line(String name, double millis) {
        return String.format(Locale.ROOT, " - %s (ms): %.1f", name, millis);
    }

    /// numpy's default method: linear between the two nearest ranks.
    static double percentile(double[] sorted, double percent) {
        if (sorted.length == 0) {
            return Double.NaN;
        }
        double rank = percent / 100 * (sorted.length - 1);
        int below = (int) rank;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
    }
}
