package dev.baton.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Mean, median, standard deviation and chosen percentiles of one metric, in milliseconds.
public record Distribution(double meanMillis, double medianMillis, double stdMillis, List<Percentile> percentiles) {
    private static final double MILLIS = 1000;

    /// One percentile.
    ///
    /// @param percent in [0, 100]
    public record Percentile(double percent, double millis) {
        /// `99`, or `99.9` if it is no whole number.
        String label() {
            return percent == Math.rint(percent) ? Long.toString((long) percent) : Double.toString(percent);
        }
    }

    static Distribution of(double[] seconds, List<Double> percents) {
        double[] sorted = seconds.clone();
        Arrays.sort(sorted);
        List<Percentile> percentiles = new ArrayList<>();
        for (double percent : percents) {
            percentiles.add(new Percentile(percent, Statistics.percentile(sorted, percent) * MILLIS));
        }
        return new Distribution(
                Statistics.mean(seconds) * MILLIS,
                Statistics.percentile(sorted, 50) * MILLIS,
                Statistics.std(seconds) * MILLIS,
                List.copyOf(percentiles));
    }
}
