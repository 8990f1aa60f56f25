package dev.baton.http;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import java.time.Duration;

/// Watches that writes are accepted: acts once no write has completed for a whole deadline while one is
/// outstanding. Event loop only.
final class WriteWatch {
    private static final long NO_TIMER = -1;

    private final Vertx vertx;
    private final Duration deadline;
    private final Runnable onTooSlow;
    private int outstanding;
    private long timer = NO_TIMER;

    WriteWatch(Vertx vertx, Duration deadline, Runnable onTooSlow) {
        this.vertx = vertx;
        this.deadline = deadline;
        this.onTooSlow = onTooSlow;
    }

    void watch(Future<Void> written) {
        if (written.isComplete()) {
            return;
        }
        if (outstanding++ == 0) {
            arm();
        }
        written.onComplete(result -> {
            vertx.cancelTimer(timer);
            timer = NO_TIMER;
            if (--outstanding > 0 && result.succeeded()) {
                arm();
            }
        });
    }

    private void arm() {
        timer = vertx.setTimer(Math.max(1, deadline.toMillis()), id -> onTooSlow.run());
    }
}
