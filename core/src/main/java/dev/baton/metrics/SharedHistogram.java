package dev.baton.metrics;

import java.util.concurrent.atomic.DoubleAdder;
import java.util.concurrent.atomic.LongAdder;

/// A histogram that any thread writes and any thread reads, kept by who observes. A reader may see an
/// observation in its bucket and not yet in the sum. Thread-safe.
public final class SharedHistogram {
    private final double[] upperBounds;
    private final LongAdder[] counts; // (buckets), the last one without a bound
    private final DoubleAdder sum = new DoubleAdder();

    /// No observations yet.
    ///
    /// @param upperBounds of the buckets, ascending, each bound within its bucket; the infinite one is added
    public SharedHistogram(double... upperBounds) {
        for (int i = 1; i < upperBounds.length; i++) {
            if (!(upperBounds[i] > upperBounds[i - 1])) {
                throw new IllegalArgumentException(
                        "bucket " + upperBounds[i] + " comes after " + upperBounds[i - 1] + "; the bounds must ascend");
            }
        }
        this.upperBounds = upperBounds.clone();
        this.counts = new LongAdder[upperBounds.length + 1];
        for (int i = 0; i < counts.length; i++) {
            counts[i] = new LongAdder();
        }
    }

    /// Notes an observation.
    public void observe(double value) {
        int bucket = 0;
        while (bucket < upperBounds.length && value > upperBounds[bucket]) {
            bucket++;
        }
        counts[bucket].increment();
        sum.add(value);
    }

    /// The bounds of the buckets but the last.
    public double[] upperBounds() {
        return upperBounds.clone();
    }

    /// Observations in each bucket, not cumulated; one more than there are bounds.
    public long[] counts() {
        long[] copy = new long[counts.length];
        for (int i = 0; i < copy.length; i++) {
            copy[i] = counts[i].sum();
        }
        return copy;
    }

    /// The sum of all observations.
    public double sum() {
        return sum.sum();
    }
}
