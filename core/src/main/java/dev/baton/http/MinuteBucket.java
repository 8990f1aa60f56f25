package dev.baton.http;

import java.time.Duration;

/// What is left of a limit for each minute: a bucket that holds a minute's worth and is refilled evenly. The
/// limit may change between two calls. Not thread-safe.
final class MinuteBucket {
    private static final double NANOS_PER_MINUTE = 60e9;

    private double left = Double.NaN; // until the first call, which finds it full
    private long refilledNanos;

    /// What is in it; below 0 where more was used than there was.
    double left(int perMinute, long nowNanos) {
        if (Double.isNaN(left)) {
            left = perMinute;
        } else {
            double refill = Math.max(0, nowNanos - refilledNanos) * perMinute / NANOS_PER_MINUTE;
            left = Math.min(perMinute, left + refill);
        }
        refilledNanos = nowNanos;
        return left;
    }

    /// Takes something out, or puts it back if it is negative. After [#left].
    void take(double amount) {
        left -= amount;
    }

    /// How long it takes until there is so much in it, rounded up. After [#left].
    Duration untilThereIs(double amount, int perMinute) {
        return Duration.ofNanos((long) Math.ceil(Math.max(0, amount - left) * NANOS_PER_MINUTE / perMinute));
    }
}
