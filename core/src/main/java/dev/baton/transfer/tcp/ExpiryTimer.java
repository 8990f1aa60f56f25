package dev.baton.transfer.tcp;

import dev.baton.wire.Threads;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;

/// Looks after what runs out, as leases do, when the next of it does. Thread-safe.
public final class ExpiryTimer {
    private final ScheduledThreadPoolExecutor timer;
    private final LongSupplier expireDue;
    private boolean scheduled; // guarded by this

    /// @param timer shared with others; looking ends when it is shut down
    /// @param expireDue ends what has run out; nanoseconds until the next does, [Long#MAX_VALUE] if none will
    public ExpiryTimer(ScheduledThreadPoolExecutor timer, LongSupplier expireDue) {
        this.timer = timer;
        this.expireDue = expireDue;
    }

    /// Sees to it that the timer looks when the next one runs out; to be called when there is a new one.
    public synchronized void schedule() {
        if (!scheduled && !timer.isShutdown()) {
            long next = expireDue.getAsLong();
            if (next != Long.MAX_VALUE) {
                scheduled = true;
                ScheduledFuture<?> _ =
                        timer.schedule(Threads.surviving("expiry", this::look), next, TimeUnit.NANOSECONDS);
            }
        }
    }

    private void look() {
        synchronized (this) {
            scheduled = false;
        }
        schedule();
    }
}
