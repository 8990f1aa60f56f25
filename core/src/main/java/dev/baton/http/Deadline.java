package dev.baton.http;

import io.vertx.core.Vertx;
import java.time.Duration;

/// A deadline that moves often and is met nearly always: moving it is a write to a field, and a timer that
/// fires early is set anew for what is left. Timers set and cancelled for every piece of every stream would
/// cost as much as forwarding the piece.
///
/// Belongs to one event loop.
final class Deadline {
    private static final long NO_TIMER = -1;

    private final Vertx vertx;
    private final Runnable whenOver;
    private boolean running;
    private long overNanos;
    private long timer = NO_TIMER;
    private long timerNanos;

    /// @param whenOver called on the event loop, at most once for each time that it is set
    Deadline(Vertx vertx, Runnable whenOver) {
        this.vertx = vertx;
        this.whenOver = whenOver;
    }

    /// Begins anew.
    void set(Duration span) {
        running = true;
        overNanos = System.nanoTime() + span.toNanos();
        if (timer == NO_TIMER) {
            schedule(span.toNanos());
        } else if (overNanos - timerNanos < 0) {
            vertx.cancelTimer(timer);
            schedule(span.toNanos());
        }
    }

    /// It does not run now. What was set keeps its timer, for the next time.
    void suspend() {
        running = false;
    }

    /// It will not be needed again.
    void close() {
        running = false;
        if (timer != NO_TIMER) {
            vertx.cancelTimer(timer);
            timer = NO_TIMER;
        }
    }

    private void schedule(long nanos) {
        long millis = Math.max(1, Math.ceilDiv(nanos, 1_000_000L));
        timerNanos = System.nanoTime() + millis * 1_000_000L;
        timer = vertx.setTimer(millis, id -> fired());
    }

    private void fired() {
        timer = NO_TIMER;
        if (!running) {
            return;
        }
        long left = overNanos - System.nanoTime();
        if (left > 0) {
            schedule(left);
        } else {
            running = false;
            whenOver.run();
        }
    }
}
