package dev.baton.bench;

import java.util.Arrays;

/// Descriptive statistics with numpy's definitions. Every function is 0 for no samples, as in vLLM's report.
final class Statistics {
    private Statistics() {}

    static double mean(double[] samples) {
        return samples.length == 0 ? 0 : Arrays.stream(samples).sum() / samples.length;
    }

    /// Standard deviation of the population (`numpy.std`, ddof 0).
    static double std(double[] samples) {
        double mean = mean(samples);
        return Math.sqrt(
                mean(Arrays.stream(samples).map(x -> (x - mean) * (x - mean)).toArray()));
    }

    /// Percentile by linear interpolation between the two nearest samples (`numpy.percentile`'s default method).
    ///
    /// @param sorted samples in ascending order
    /// @param percent in [0, 100]
    static double percentile(double[] sorted, double percent) {
        if (sorted.length == 0) {
            return 0;
        }
        double index = percent / 100 * (sorted.length - 1);
        int below = (int) Math.floor(index);
        int above = Math.min(below + 1, sorted.length - 1);
        double fraction = index - below;
        double step = sorted[above] - sorted[below];
        // Counted from the nearer end, as numpy does, so that the result never leaves the interval.
        return fraction < 0.5 ? sorted[below] + step * fraction : sorted[above] - step * (1 - fraction);
    }
}
