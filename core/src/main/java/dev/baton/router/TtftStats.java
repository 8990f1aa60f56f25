package dev.baton.router;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// Times to the prefiller's answer, per prefiller, and to the first bytes of content, per decoder, and their
/// report in the form of LMCache's proxies: average, median and 99th percentile (linear interpolation, as
/// `numpy.percentile`) in milliseconds.
///
/// Kept for each engine are its last [#WINDOW] values; the number of requests counts all, also older ones.
/// Thread-safe: values are copied under its lock and sorted outside, so that no request waits for that.
final class TtftStats {
    /// Values an engine is reported over.
    static final int WINDOW = 4096;

    private static final String RULER = "=".repeat(31);

    private final List<Window> prefillers = new ArrayList<>(); // by index
    private final List<Window> decoders = new ArrayList<>(); // by index
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

        private Copy copy() {
            return new Copy(count, Arrays.copyOf(millis, (int) Math.min(count, millis.length)));
        }
    }

    /// A window at one moment, its reader's own.
    private static final class Copy {
        private final long count;
        private final double[] millis;

        private Copy(long count, double[] millis) {
            this.count = count;
            this.millis = millis;
        }

        private Summary summary() {
            Arrays.sort(millis);
            double average = Arrays.stream(millis).average().orElse(Double.NaN);
            return new Summary(count, average, percentile(millis, 50), percentile(millis, 99));
        }
    }

    /// Adds one prefiller's time to its answer.
    ///
    /// @param index of the prefiller, from 0
    synchronized void prefilled(int index, double millis) {
        add(prefillers, index, millis);
    }

    /// Adds one decoder's time to its first bytes.
    ///
    /// @param index of the decoder, from 0
    synchronized void decoded(int index, double millis) {
        add(decoders, index, millis);
    }

    /// An engine may do what is not its role, by an aggregated route: the report has no place for it.
    private static void add(List<Window> windows, int index, double millis) {
        if (index < 0) {
            return;
        }
        while (windows.size() <= index) {
            windows.add(new Window());
        }
        windows.get(index).add(millis);
    }

    /// Drops the values of an engine that is gone: another one gets its index. The requests of a prefiller stay
    /// counted.
    ///
    /// @param prefiller its index among the prefillers, -1 if it is none
    /// @param decoder its index among the decoders, -1 if it is none
    synchronized void forget(int prefiller, int decoder) {
        forgottenRequests += drop(prefillers, prefiller);
        drop(decoders, decoder);
    }

    private static long drop(List<Window> windows, int index) {
        return index >= 0 && index < windows.size() ? windows.set(index, new Window()).count : 0;
    }

    /// What one prefiller's values say; empty if it has none.
    Optional<Summary> ofPrefiller(int index) {
        return copy(prefillers, index).map(Copy::summary);
    }

    /// What one decoder's values say; empty if it has none.
    Optional<Summary> ofDecoder(int index) {
        return copy(decoders, index).map(Copy::summary);
    }

    private synchronized Optional<Copy> copy(List<Window> windows, int index) {
        return index < windows.size() && windows.get(index).count > 0
                ? Optional.of(windows.get(index).copy())
                : Optional.empty();
    }

    /// The report, if requests came since the last one: prefillers, then decoders. Requests are counted where their
    /// first bytes came from, or where they were prefilled if that is more.
    Optional<String> reportIfTraffic() {
        long requests;
        List<Copy> prefills;
        List<Copy> decodes;
        synchronized (this) {
            requests = forgottenRequests + Math.max(total(prefillers), total(decoders));
            if (requests == reportedRequests) {
                return Optional.empty();
            }
            reportedRequests = requests;
            prefills = prefillers.stream().map(Window::copy).toList();
            decodes = decoders.stream().map(Window::copy).toList();
        }
        List<String> lines = new ArrayList<>(List.of(RULER, "Num requests: " + requests));
        describe("Prefiller ", prefills, lines);
        describe("Decoder ", decodes, lines);
        lines.add(RULER);
        return Optional.of("\n" + String.join("\n", lines));
    }

    private static long total(List<Window> windows) {
        return windows.stream().mapToLong(window -> window.count).sum();
    }

    private static void describe(String role, List<Copy> windows, List<String> lines) {
        for (int i = 0; i < windows.size(); i++) {
            if (windows.get(i).count > 0) {
                Summary summary = windows.get(i).summary();
                lines.add(role + (i + 1) + " TTFT stats:");
                lines.add(line("Average", summary.averageMillis()));
                lines.add(line("Median", summary.medianMillis()));
                lines.add(line("99th Percentile", summary.p99Millis()));
            }
        }
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
