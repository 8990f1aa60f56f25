package dev.baton.cli;

import java.io.IOException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.jline.utils.Signals;
import org.jspecify.annotations.Nullable;

/// Hears that this process should end, so that a sub-command can end in order and choose its exit status: Ctrl+C, a
/// SIGTERM, or the end of the process that started it. A second signal ends the process at once.
///
/// Thread-safe.
final class StopSignal {

    /// Who wants the end.
    enum Cause {
        /// Ctrl+C.
        INTERRUPT("Ctrl+C", 130),
        /// A SIGTERM, as service managers send it.
        TERMINATE("SIGTERM", 0),
        /// The process that started this one has ended.
        PARENT_GONE("the launcher is gone", 0);

        private final String words;
        private final int exitCode;

        Cause(String words, int exitCode) {
            this.words = words;
            this.exitCode = exitCode;
        }

        /// Exit status of a process that ended in order for this cause.
        int exitCode() {
            return exitCode;
        }

        /// As a person would say it.
        @Override
        public String toString() {
            return words;
        }
    }

    private final AtomicReference<@Nullable Cause> cause = new AtomicReference<>();
    private final CountDownLatch raised = new CountDownLatch(1);
    private volatile Runnable atOnce = () -> {};

    private StopSignal() {}

    /// Listens from now on to Ctrl+C and SIGTERM.
    static StopSignal install() {
        StopSignal signal = new StopSignal();
        Signals.register("INT", () -> signal.raise(Cause.INTERRUPT));
        Signals.register("TERM", () -> signal.raise(Cause.TERMINATE));
        return signal;
    }

    /// Listens to the end of standard input as well: a pipe from the parent closes when the parent ends, also by
    /// `kill -9`.
    void watchParent() {
        Thread.ofPlatform().name("baton-parent-watch").daemon().start(() -> {
            try {
                System.in.transferTo(java.io.OutputStream.nullOutputStream());
            } catch (IOException e) {
                // a broken pipe is an end as well
            }
            raise(Cause.PARENT_GONE);
        });
    }

    private void raise(Cause newCause) {
        if (cause.compareAndSet(null, newCause)) {
            raised.countDown();
        } else if (newCause != Cause.PARENT_GONE && cause.get() != Cause.PARENT_GONE) {
            atOnce.run();
            Runtime.getRuntime().halt(newCause == Cause.INTERRUPT ? Cause.INTERRUPT.exitCode() : Exit.FAILURE);
        }
    }

    /// What was heard so far.
    Optional<Cause> cause() {
        return Optional.ofNullable(cause.get());
    }

    /// Waits for a signal.
    Cause await() throws InterruptedException {
        raised.await();
        return cause().orElseThrow();
    }

    /// Waits for a signal for some time.
    Optional<Cause> await(Duration time) throws InterruptedException {
        boolean isRaised = raised.await(time.toNanos(), TimeUnit.NANOSECONDS);
        return isRaised ? cause() : Optional.empty();
    }

    /// Runs `task` on a thread of its own once a signal is heard, and `atOnce` on a second signal, before the
    /// process ends.
    void onRaised(Runnable task, Runnable atOnce) {
        this.atOnce = atOnce;
        Thread.ofPlatform().name("baton-stop").daemon().start(() -> {
            try {
                raised.await();
                task.run();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
    }
}
