package dev.baton.transfer.store;

import dev.baton.metrics.KvSendEvent;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvSaves;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Carries blocks between the pool and a store, on threads of its own, and ends what takes too long, whatever the
/// store does. Thread-safe.
///
/// @param <K> the name of a block
public final class BlockStoreWorker<K> implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(BlockStoreWorker.class);

    private static final String CLOSED = "the connector was closed";
    /// Blocks that may wait to be written.
    private static final int MAX_WAITING_BLOCKS = 4_096;
    /// Between two lines of the log about a store that does not do what it should.
    private static final long COMPLAINT_NANOS = Duration.ofSeconds(10).toNanos();

    private final Settings settings;
    private final PagedKv pool;
    private final BlockStore<K> store;
    private final Consumer<KvEvent> sink;
    private final KvSaves saves;
    private final ExecutorService readers;
    private final ExecutorService writers;
    private final ScheduledThreadPoolExecutor timer;
    private final Map<String, Load> loads = new ConcurrentHashMap<>();
    private final AtomicInteger waitingBlocks = new AtomicInteger();
    private final LongAdder transfers = new LongAdder();
    private final LongAdder failedTransfers = new LongAdder();
    private final LongAdder blocksLoaded = new LongAdder();
    private final LongAdder loadNanos = new LongAdder();
    private volatile long complainedNanos = System.nanoTime() - COMPLAINT_NANOS;
    private volatile boolean closed;

    /// How a worker works.
    ///
    /// @param connector the name of the connector whose worker it is
    /// @param what the store, in words for the log
    /// @param threads what the names of its threads begin with
    /// @param readThreads loads at a time
    /// @param writeThreads saves at a time
    /// @param limit longest that a load takes, or that the blocks of a request that is over are held to be saved
    public record Settings(
            String connector, String what, String threads, int readThreads, int writeThreads, Duration limit) {}

    public BlockStoreWorker(
            Settings settings, PagedKv pool, BlockStore<K> store, KvSaves saves, Consumer<KvEvent> sink) {
        this.settings = settings;
        this.pool = pool;
        this.store = store;
        this.saves = saves;
        this.sink = sink;
        this.readers = threads("read-", settings.readThreads());
        this.writers = threads("write-", settings.writeThreads());
        this.timer = new ScheduledThreadPoolExecutor(
                1,
                Thread.ofPlatform().daemon().name(settings.threads() + "timer").factory());
        timer.setRemoveOnCancelPolicy(true);
    }

    private ExecutorService threads(String name, int count) {
        return Executors.newFixedThreadPool(
                count,
                Thread.ofPlatform().daemon().name(settings.threads() + name, 0).factory());
    }

    /// A load. It ends once: by itself, by being cancelled, or by its deadline, whatever the store does; what had
    /// arrived by its deadline counts.
    private final class Load implements KvLoad, BlockStore.Blocks {
        private final String requestId;
        private final List<K> names;
        private final int[] blockIds;
        private final ReentrantLock lock = new ReentrantLock();
        private volatile long startNanos;
        private int arrived; // guarded by lock
        private boolean over; // guarded by lock

        Load(String requestId, List<K> names, int[] blockIds) {
            this.requestId = requestId;
            this.names = names;
            this.blockIds = blockIds;
        }

        @Override
        public String requestId() {
            return requestId;
        }

        @Override
        public void start() {
            startNanos = System.nanoTime();
            loads.put(requestId, this);
            try {
                ScheduledFuture<?> deadline =
                        timer.schedule(this::timeOut, settings.limit().toNanos(), TimeUnit.NANOSECONDS);
                readers.execute(() -> {
                    run();
                    boolean _ = deadline.cancel(false);
                });
            } catch (RejectedExecutionException e) {
                fail(CLOSED);
            }
        }

        @Override
        public boolean visit(int index, IntConsumer copy) {
            lock.lock();
            try {
                if (!over) {
                    if (index != arrived) {
                        throw new IllegalStateException("block %d after %d blocks".formatted(index, arrived));
                    }
                    copy.accept(blockIds[index]);
                    arrived++;
                }
                return !over;
            } finally {
                lock.unlock();
            }
        }

        /// @return the blocks that arrived, or -1 if it had ended before
        private int end() {
            lock.lock();
            try {
                int blocks = over ? -1 : arrived;
                over = true;
                return blocks;
            } finally {
                lock.unlock();
            }
        }

        void fail(String reason) {
            if (end() >= 0) {
                loads.remove(requestId, this);
                failedTransfers.increment();
                sink.accept(new KvEvent.KvFailed(requestId, reason));
            }
        }

        private void timeOut() {
            complain("did not answer within %d ms; what had not come is computed"
                    .formatted(settings.limit().toMillis()));
            arrive();
        }

        private void arrive() {
            int blocks = end();
            if (blocks >= 0) {
                loads.remove(requestId, this);
                transfers.increment();
                blocksLoaded.add(blocks);
                loadNanos.add(System.nanoTime() - startNanos);
                sink.accept(new KvEvent.KvArrived(requestId, blocks * pool.blockTokens(), blocks * pool.blockBytes()));
            }
        }

        private void run() {
            try {
                if (!closed && loads.get(requestId) == this) {
                    store.load(names, this);
                }
            } catch (IOException e) {
                complain("does not give blocks: " + e.getMessage());
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("load of {} failed", requestId, e);
                fail("internal error: " + e);
            }
            if (closed) {
                fail(CLOSED);
            } else {
                arrive();
            }
        }
    }

    /// A load to be started; see [KvLoad#start].
    ///
    /// @param blockIds where to in the pool
    KvLoad load(String requestId, List<K> names, int[] blockIds) {
        return new Load(requestId, names, blockIds);
    }

    /// Whether blocks come faster than they are written: further ones are not kept then, so that no request
    /// waits for its blocks to be.
    boolean isBehind() {
        return waitingBlocks.get() > MAX_WAITING_BLOCKS;
    }

    /// Sees to it that a request that is over does not keep its blocks for long, whatever the store does.
    void limitHold(String requestId) {
        try {
            ScheduledFuture<?> _ =
                    timer.schedule(() -> saves.drop(requestId), settings.limit().toNanos(), TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException e) {
            saves.drop(requestId);
        }
    }

    /// Saves blocks of a request; closes the save.
    void save(KvSaves.Save save, List<K> names, int[] blockIds) {
        int blocks = names.size();
        waitingBlocks.addAndGet(blocks);
        try {
            writers.execute(() -> {
                try {
                    if (!closed) {
                        write(save, names, blockIds);
                    }
                } finally {
                    waitingBlocks.addAndGet(-blocks);
                    save.close();
                }
            });
        } catch (RejectedExecutionException e) {
            waitingBlocks.addAndGet(-blocks);
            save.close();
        }
    }

    private void write(KvSaves.Save save, List<K> names, int[] blockIds) {
        KvSendEvent event = KvSendEvent.started();
        LongAdder copied = new LongAdder();
        String outcome = KvSendEvent.SENT;
        try {
            store.save(names, (index, copy) -> {
                boolean read = !closed && save.read(() -> copy.accept(blockIds[index]));
                copied.add(read ? pool.blockBytes() : 0);
                return read;
            });
        } catch (IOException e) {
            outcome = e.toString();
            complain("does not take blocks: " + e.getMessage());
        } catch (RuntimeException | OutOfMemoryError e) {
            outcome = e.toString();
            LOG.error("blocks were not kept", e);
        }
        long bytes = outcome.equals(KvSendEvent.SENT) ? copied.sum() : 0;
        event.ended(settings.connector(), save.requestId(), settings.what(), names.size(), bytes, outcome);
    }

    private void complain(String sentence) {
        long now = System.nanoTime();
        if (now - complainedNanos >= COMPLAINT_NANOS) {
            complainedNanos = now;
            LOG.warn("{} {}", settings.what(), sentence);
        }
    }

    @Override
    public void cancelLoad(String requestId) {
        Load load = loads.get(requestId);
        if (load != null) {
            load.fail("cancelled");
        }
    }

    @Override
    public void release(KvTransferParams params) {
        // a store is not told about requests
    }

    @Override
    public void dropLease(String requestId) {
        saves.drop(requestId);
    }

    @Override
    public int numLeases() {
        return saves.numHeld();
    }

    @Override
    public int numLoads() {
        return loads.size();
    }

    /// What has been loaded and saved so far.
    public KvTransferStats stats() {
        return new KvTransferStats(
                transfers.sum(),
                failedTransfers.sum(),
                blocksLoaded.sum() * pool.blockBytes(),
                blocksLoaded.sum(),
                loadNanos.sum(),
                store.bytesSaved(),
                store.numBadBlocks(),
                0,
                0);
    }

    /// Ends what is under way. A thread that the store holds is left behind: it touches no block of the pool any
    /// more.
    ///
    /// @param disconnect makes what waits for the store fail
    /// @return whether all threads have ended
    public boolean close(Runnable disconnect) {
        closed = true;
        timer.shutdownNow().clear();
        loads.values().forEach(load -> load.fail(CLOSED));
        disconnect.run();
        boolean interrupted = false;
        boolean ended = true;
        for (ExecutorService threads : List.of(readers, writers)) {
            threads.shutdown();
            try {
                ended &= threads.awaitTermination(settings.limit().toNanos(), TimeUnit.NANOSECONDS);
            } catch (InterruptedException e) {
                ended = false;
                interrupted = true;
            }
        }
        if (!ended) {
            LOG.warn("{} does not answer; its threads are left behind", settings.what());
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        return ended;
    }
}
