package dev.baton.router;

import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.jspecify.annotations.Nullable;

/// Whether requests may go to an engine, by how its last ones ended. Closed: all may. Open, after several failures
/// in a row or too large a share of them: none. Half-open, a while later: one trial at a time, whose success closes
/// it and whose failure opens it for twice as long.
///
/// It says only what it saw. That not all engines are left out at once, because they all fail under one load, is
/// [EnginePool]'s part. Thread-safe. Times are `System.nanoTime()`.
final class CircuitBreaker {
    /// How far back the share of failures is counted.
    static final Duration WINDOW = Duration.ofSeconds(10);

    /// Fewer requests in the window than these have no share that says anything.
    static final int MIN_REQUESTS = 20;

    /// Longest time that it stays open.
    static final Duration MAX_OPEN = Duration.ofSeconds(10);

    private static final int BUCKETS = 10;
    private static final long BUCKET_NANOS = WINDOW.toNanos() / BUCKETS;

    /// What it lets through.
    enum State {
        CLOSED,
        OPEN,
        HALF_OPEN
    }

    private final int failuresInARow;
    private final double failureRate;
    private final long firstOpenNanos;
    private final AtomicIntegerArray succeeded = new AtomicIntegerArray(BUCKETS);
    private final int[] failed = new int[BUCKETS];
    private volatile State state = State.CLOSED;
    private volatile long bucket = Long.MIN_VALUE; // number of the newest one
    private volatile int row;
    private long openNanos;
    private long openedAt;
    private @Nullable Object trial;

    CircuitBreaker(HealthConfig config) {
        failuresInARow = config.circuitFailures();
        failureRate = config.circuitFailureRate();
        firstOpenNanos = config.circuitOpen().toNanos();
        openNanos = firstOpenNanos;
    }

    State state() {
        return state;
    }

    /// Whether one more request may go there now.
    boolean admits(long now) {
        return state == State.CLOSED || admitsTrial(now);
    }

    private synchronized boolean admitsTrial(long now) {
        if (state == State.OPEN && now - openedAt >= openNanos) {
            state = State.HALF_OPEN;
            trial = null;
        }
        return state == State.CLOSED || (state == State.HALF_OPEN && trial == null);
    }

    /// A request goes there.
    void started(Object request) {
        if (state == State.HALF_OPEN) {
            synchronized (this) {
                if (trial == null) {
                    trial = request;
                }
            }
        }
    }

    /// It is over; what it said of the engine, if anything, comes besides.
    void ended(Object request) {
        if (state == State.HALF_OPEN) {
            synchronized (this) {
                if (request.equals(trial)) {
                    trial = null;
                }
            }
        }
    }

    /// A request was answered. Nearly all are, so that this takes no lock where it only counts; one that is counted
    /// in the moment in which its bucket is emptied may be lost.
    ///
    /// @return whether that closed it
    boolean succeeded(long now) {
        long number = Math.floorDiv(now, BUCKET_NANOS);
        if (state == State.CLOSED && row == 0 && bucket == number) {
            succeeded.incrementAndGet(Math.floorMod(number, BUCKETS));
            return false;
        }
        return succeededAnew(now);
    }

    private synchronized boolean succeededAnew(long now) {
        if (state == State.OPEN) {
            return false; // sent before it opened, or because all others are open as well
        }
        row = 0;
        succeeded.incrementAndGet(current(now));
        if (state == State.HALF_OPEN) {
            reset();
            return true;
        }
        return false;
    }

    /// A request failed.
    ///
    /// @return whether that opened it
    synchronized boolean failed(long now) {
        if (failuresInARow == 0 || state == State.OPEN) {
            return false;
        }
        row++;
        failed[current(now)]++;
        if (state == State.HALF_OPEN) {
            openNanos = Math.min(2 * openNanos, MAX_OPEN.toNanos());
            open(now);
            return true;
        }
        int failures = Arrays.stream(failed).sum();
        int requests = failures;
        for (int i = 0; i < BUCKETS; i++) {
            requests += succeeded.get(i);
        }
        if (row >= failuresInARow || (requests >= MIN_REQUESTS && failures >= failureRate * requests)) {
            open(now);
            return true;
        }
        return false;
    }

    /// The engine is known to be in trouble: opens.
    synchronized void trip(long now) {
        if (failuresInARow > 0) {
            open(now);
        }
    }

    /// The engine is another one than it was: begins anew.
    synchronized void reset() {
        state = State.CLOSED;
        trial = null;
        row = 0;
        openNanos = firstOpenNanos;
        forget();
    }

    private void open(long now) {
        state = State.OPEN;
        openedAt = now;
        trial = null;
        row = 0;
        forget();
    }

    private void forget() {
        for (int i = 0; i < BUCKETS; i++) {
            succeeded.set(i, 0);
        }
        Arrays.fill(failed, 0);
    }

    /// The bucket of this time; those that the window has left are emptied.
    private int current(long now) {
        long number = Math.floorDiv(now, BUCKET_NANOS);
        if (number > bucket) {
            long stale = bucket == Long.MIN_VALUE ? 0 : Math.min(BUCKETS, number - bucket);
            for (long i = 0; i < stale; i++) {
                int index = Math.floorMod(number - i, BUCKETS);
                succeeded.set(index, 0);
                failed[index] = 0;
            }
            bucket = number;
        }
        return Math.floorMod(number, BUCKETS);
    }
}
