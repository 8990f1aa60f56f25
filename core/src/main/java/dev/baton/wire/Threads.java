package dev.baton.wire;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// What threads that serve peers have in common: who closes waits until they have ended, interrupted or not, since
/// they may write into memory that its owner frees next. Stateless, thread-safe.
public final class Threads {
    private static final Logger LOG = LoggerFactory.getLogger(Threads.class);
    private static final long KEEP_ALIVE_SECONDS = 10;

    private Threads() {}

    /// A pool of daemon threads, as many as there are tasks, each kept for a while for the next one. Who gives
    /// tasks sees to it that there are not too many.
    ///
    /// @param prefix begins the threads' names
    public static ExecutorService perTask(String prefix) {
        return new ThreadPoolExecutor(
                0,
                Integer.MAX_VALUE,
                KEEP_ALIVE_SECONDS,
                TimeUnit.SECONDS,
                new SynchronousQueue<>(),
                Thread.ofPlatform().daemon().name(prefix, 0).factory());
    }

    /// Waits for the end of a thread that was started.
    public static void awaitEnd(Thread thread) {
        await(() -> {
            thread.join();
            return true;
        });
    }

    /// Waits for the end of the threads of a pool that was shut down.
    public static void awaitEnd(ExecutorService pool) {
        await(() -> pool.awaitTermination(1, TimeUnit.MINUTES));
    }

    /// A task that logs what it throws: an executor silently ends a periodic task that throws.
    public static Runnable surviving(String what, Runnable task) {
        return () -> {
            try {
                task.run();
            } catch (RuntimeException | Error e) {
                LOG.error("{} failed", what, e);
            }
        };
    }

    /// One wait for an end.
    @FunctionalInterface
    private interface Wait {
        /// @return whether the end has come
        boolean once() throws InterruptedException;
    }

    private static void await(Wait wait) {
        boolean ended = false;
        boolean interrupted = false;
        while (!ended) {
            try {
                ended = wait.once();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
