package dev.baton.router;

import java.time.Duration;

/// Tells an engine that is slow from one that hangs, by the time since the last sign that it computes.
///
/// What an engine has taken once it may take again: the time allowed is twice the longest pause that it came
/// out of, up to [#MOST] times the configured one, so that an engine with very long steps is called hung once
/// only. Thread-safe. Times are `System.nanoTime()`.
final class ProgressWatch {
    private static final int MOST = 8;

    private final long timeoutNanos;
    private long lastSign;
    private long longestPauseNanos;

    /// @param timeout time without a sign; zero for ever
    ProgressWatch(Duration timeout, long now) {
        timeoutNanos = timeout.toNanos();
        lastSign = now;
    }

    /// It computes.
    ///
    /// @param at when that was seen; of no effect if a later sign was seen already
    synchronized void sign(long at) {
        long pause = at - lastSign;
        if (pause > 0) {
            longestPauseNanos = Math.max(longestPauseNanos, pause);
            lastSign = at;
        }
    }

    /// It has nothing to compute, or is another process than before: nothing is expected of it.
    synchronized void nothingToDo(long now) {
        lastSign = Math.max(lastSign, now);
    }

    /// How long there was no sign.
    synchronized Duration silence(long now) {
        return Duration.ofNanos(now - lastSign);
    }

    /// Whether there was none for too long.
    synchronized boolean overdue(long now) {
        long allowed = Math.max(timeoutNanos, Math.min(2 * longestPauseNanos, MOST * timeoutNanos));
        return timeoutNanos > 0 && now - lastSign > allowed;
    }
}
