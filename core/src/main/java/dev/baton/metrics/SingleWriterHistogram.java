package dev.baton.metrics;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/// A histogram of whole numbers that one thread writes, without a lock, an atomic addition or an allocation, and
/// any thread reads. A reader may see an observation in its bucket and not yet in the sum.
public final class SingleWriterHistogram {
    private final long[] upperBounds;
    private final AtomicLongArray counts; // (buckets), the last one without a bound
    private final AtomicLong sum = new AtomicLong();

    /// No observations yet.
    ///
    /// @param upperBounds of the buckets, ascending, each bound within its bucket; the infinite one is added
    public SingleWriterHistogram(long... upperBounds) {
        for (int i = 1; i < upperBounds.length; i++) {
            if (upperBounds[i] <= upperBounds[i - 1]) {
                throw new IllegalArgumentException(
                        "bucket " + upperBounds[i] + " comes after " + upperBounds[i - 1] + "; the bounds must ascend");
            }
        }
        this.upperBounds = upperBounds.clone();
        this.counts = new AtomicLongArray(upperBounds.length + 1);
    }

    /// Notes an observation. The writing thread only.
    public void observe(long value) {
        int bucket = 0;
        while (bucket < upperBounds.length && value > upperBounds[bucket]) {
            bucket++;
        }
        counts.lazySet(bucket, counts.getPlain(bucket) + 1);
        sum.lazySet(sum.getPlain() + value);
    }

    /// The bounds of the buckets but the last.
    public long[] upperBounds() {
        return upperBounds.clone();
    }

    /// Observations in each bucket, not cumulated; one more than there are bounds.
    public long[] counts() {
        long[] copy = new long[counts.length()];
        for (int i = 0; i < copy.length; i++) {
            copy[i] = counts.get(i);
        }
        return copy;
    }

    /// The sum of all observations.
    public long sum() {
        return sum.get();
    }
}
