package dev.baton.tensor.cuda;

import dev.baton.tensor.TensorException;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/// A thread for each of several GPUs that work together: rank 0 is the caller's, the others' are its own,
/// `baton-rank-1` and so on.
///
/// Threads that have just worked stay awake for a moment, since the next step comes soon and all ranks wait for
/// the one that begins last. Used from one thread at a time, which may be another each time.
public final class RankThreads implements AutoCloseable {
    private static final long AWAKE_NANOS = 500_000;

    private final Runnable onFailure;
    private final List<Worker> workers = new ArrayList<>(); // of rank 1 on
    private volatile boolean closed;

    /// @param onFailure called when the work of a rank has failed, on that rank's thread: it makes the others stop
    ///     waiting for it
    public RankThreads(int ranks, Runnable onFailure) {
        this.onFailure = onFailure;
        for (int rank = 1; rank < ranks; rank++) {
            workers.add(new Worker(rank));
        }
    }

    /// Work under way on all ranks.
    private static final class Round {
        private final IntConsumer work;
        private final Thread caller = Thread.currentThread();
        private final AtomicInteger running;
        private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>(); // in the order of their time

        Round(IntConsumer work, int ranks) {
            this.work = work;
            this.running = new AtomicInteger(ranks);
        }
    }

    /// Does work on all ranks at the same time and waits for all of them.
    ///
    /// @param work is given the rank
    /// @throws RuntimeException what the rank that failed first has thrown, with the others' behind it: they
    ///     may have failed since they no longer waited for it
    public void run(IntConsumer work) {
        if (closed) {
            throw new TensorException("the threads of several GPUs were closed");
        }
        Round round = new Round(work, workers.size() + 1);
        for (Worker worker : workers) {
            worker.next = round;
            LockSupport.unpark(worker.thread);
        }
        work(round, 0);
        long since = System.nanoTime();
        boolean isInterrupted = false;
        while (round.running.get() > 0) {
            if (System.nanoTime() - since < AWAKE_NANOS) {
                Thread.onSpinWait();
            } else {
                LockSupport.park(round);
                isInterrupted |= Thread.interrupted(); // a rank may be writing: all are waited for
            }
        }
        if (isInterrupted) {
            Thread.currentThread().interrupt();
        }
        throwFirst(round);
    }

    private void work(Round round, int rank) {
        try {
            round.work.accept(rank);
        } catch (Throwable t) {
            round.failures.add(t);
            onFailure.run();
        } finally {
            round.running.decrementAndGet();
        }
    }

    private static void throwFirst(Round round) {
        Throwable first = round.failures.poll();
        for (Throwable other : round.failures) {
            if (first != null && !other.equals(first)) {
                first.addSuppressed(other);
            }
        }
        if (first instanceof Error error) {
            throw error;
        }
        if (first instanceof RuntimeException e) {
            throw e;
        }
    }

    /// The thread of one rank.
    private final class Worker {
        private final Thread thread;
        private volatile @Nullable Round next;

        Worker(int rank) {
            thread = Thread.ofPlatform().daemon().name("baton-rank-" + rank).start(() -> loop(rank));
        }

        private void loop(int rank) {
            long since = System.nanoTime();
            while (!closed) {
                Round round = next;
                if (round != null) {
                    next = null;
                    work(round, rank);
                    LockSupport.unpark(round.caller);
                    since = System.nanoTime();
                } else if (System.nanoTime() - since < AWAKE_NANOS) {
                    Thread.onSpinWait();
                } else {
                    LockSupport.park(this);
                }
            }
        }
    }

    @Override
    public void close() {
        closed = true;
        workers.forEach(worker -> LockSupport.unpark(worker.thread));
    }
}
