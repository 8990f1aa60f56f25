package dev.baton.tensor.cpu;

import dev.baton.tensor.TensorException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/// A few platform threads that run one loop at a time together with the calling thread, for loops of microseconds.
///
/// Items are claimed one by one, so a worker that the operating system has put aside costs nothing but its
/// absence. Threads wait for work and for each other by yielding for a short while and then parking, and between
/// two items they yield every now and then: several engines may share the cores, and threads that only forward what
/// was computed would otherwise wait for the end of a time slice of some milliseconds.
///
/// [#forEach] is called from one thread at a time. Nothing is allocated per call.
@SuppressWarnings("ThreadPriorityCheck") // yielding is a courtesy here: nothing depends on it
final class WorkerPool implements AutoCloseable {
    /// One loop's body.
    interface Task {
        /// Computes one item.
        ///
        /// @param item from 0 to the loop's count, exclusive; every item exactly once, in no given order
        /// @param worker which thread runs it, from 0 (the caller) to [WorkerPool#threads()], exclusive
        void run(int item, int worker);
    }

    /// Time that a thread waits for another one before it parks.
    private static final long WAIT_NANOS = 30_000;

    /// Time that a thread computes before it lets others go first, between two items.
    private static final long TURN_NANOS = 200_000;

    /// Distance between the threads' places in [#turnBegan], so that no two share a cache line.
    private static final int APART = 16;

    private static final long LOW_BITS = 0xffff_ffffL;

    private final Worker[] workers;

    /*
     * The number of the loop in the upper half, the number of items not yet claimed in the lower. A claim is a
     * compare-and-set of both, so it fails if the loop that the claimer saw is over; and as long as an unclaimed item
     * exists, the caller waits and `task` and `count` stay as they are.
     */
    private final AtomicLong unclaimed = new AtomicLong();
    private final AtomicInteger finished = new AtomicInteger();
    private final long[] turnBegan; // (threads, APART)
    private @Nullable Task task;
    private int count;
    private volatile @Nullable Thread waitingCaller;
    private volatile @Nullable Throwable failure;
    private volatile boolean closed;

    /// Starts `threads - 1` threads named `baton-cpu-1`, `baton-cpu-2`, ...
    WorkerPool(int threads) {
        workers = new Worker[threads - 1];
        turnBegan = new long[threads * APART];
        for (int i = 0; i < workers.length; i++) {
            workers[i] = new Worker(i + 1);
        }
        for (Worker worker : workers) {
            worker.thread.start();
        }
    }

    /// Number of threads, the caller included.
    int threads() {
        return workers.length + 1;
    }

    /// Runs all items on the calling thread.
    void forEachHere(int items, Task body) {
        for (int i = 0; i < items; i++) {
            body.run(i, 0);
        }
    }

    /// Runs all items on all threads, and returns when the last one is finished. An exception of an item is thrown
    /// here.
    void forEach(int items, Task body) {
        if (items <= 1 || workers.length == 0) {
            forEachHere(items, body);
            return;
        }
        task = body;
        count = items;
        finished.set(0);
        long loop = (unclaimed.get() >>> 32) + 1;
        unclaimed.set(loop << 32 | items);
        int helpers = Math.min(workers.length, items - 1);
        for (int i = 0; i < helpers; i++) {
            workers[i].wake();
        }
        drain(0);
        awaitFinished(items);
        Throwable thrown = failure;
        if (thrown != null) {
            failure = null;
            throw new TensorException("a computation failed: " + thrown, thrown);
        }
    }

    /// Claims and runs items until none is left; false if there was none.
    private boolean drain(int worker) {
        boolean worked = false;
        while (true) {
            long seen = unclaimed.get();
            int left = (int) (seen & LOW_BITS);
            if (left == 0) {
                return worked;
            }
            if (yieldsItsTurn(worker)) {
                continue;
            }
            Task body = task;
            int items = count;
            if (body != null && unclaimed.compareAndSet(seen, seen - 1)) {
                worked = true;
                try {
                    body.run(items - left, worker);
                } catch (Throwable t) {
                    failure = t;
                }
                if (finished.incrementAndGet() == items) {
                    Thread caller = waitingCaller;
                    if (caller != null) {
                        LockSupport.unpark(caller);
                    }
                }
            }
        }
    }

    private boolean yieldsItsTurn(int worker) {
        long now = System.nanoTime();
        if (now - turnBegan[worker * APART] < TURN_NANOS) {
            return false;
        }
        Thread.yield();
        turnBegan[worker * APART] = System.nanoTime();
        return true;
    }

    private void awaitFinished(int items) {
        long deadline = 0;
        while (finished.get() != items) {
            long now = System.nanoTime();
            if (deadline == 0) {
                deadline = now + WAIT_NANOS;
            }
            if (now - deadline < 0) {
                Thread.yield();
            } else {
                waitingCaller = Thread.currentThread();
                while (finished.get() != items) {
                    LockSupport.park(this);
                }
                waitingCaller = null;
            }
        }
    }

    /// Ends the threads. Not during a [#forEach].
    @Override
    public void close() {
        closed = true;
        for (Worker worker : workers) {
            LockSupport.unpark(worker.thread);
        }
    }

    private final class Worker implements Runnable {
        private final int index;
        private final Thread thread;
        private volatile boolean parked;

        Worker(int index) {
            this.index = index;
            this.thread =
                    Thread.ofPlatform().name("baton-cpu-" + index).daemon(true).unstarted(this);
        }

        void wake() {
            if (parked) {
                LockSupport.unpark(thread);
            }
        }

        @Override
        public void run() {
            long idleSince = System.nanoTime();
            while (!closed) {
                if (drain(index)) {
                    idleSince = System.nanoTime();
                } else if (System.nanoTime() - idleSince < WAIT_NANOS) {
                    Thread.yield();
                } else {
                    parked = true;
                    while ((unclaimed.get() & LOW_BITS) == 0 && !closed) {
                        LockSupport.park(this);
                    }
                    parked = false;
                    idleSince = System.nanoTime();
                }
            }
        }
    }
}
