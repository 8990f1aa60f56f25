package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvSaves;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Copies blocks between the pool and the tiers, on threads of its own. Thread-safe.
final class OffloadWorker implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(OffloadWorker.class);

    private static final String CLOSED = "the connector was closed";
    /// Longest that a load takes, or that blocks are held to be saved.
    private static final Duration LIMIT = Duration.ofSeconds(10);
    /// Blocks that may wait to be written.
    private static final int MAX_WAITING_BLOCKS = 4_096;
    /// Between two lines of the log about a file system that does not do what it should.
    private static final long COMPLAINT_NANOS = Duration.ofSeconds(10).toNanos();

    private final PagedKv pool;
    private final Optional<MemoryTier> memory;
    private final Optional<FileTier> files;
    private final Consumer<KvEvent> sink;
    private final KvSaves saves;
    private final ExecutorService readers;
    private final ExecutorService writers;
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(
            1, Thread.ofPlatform().daemon().name("baton-kv-offload-timer").factory());
    private final Map<String, Running> loads = new ConcurrentHashMap<>();
    private final AtomicInteger waitingBlocks = new AtomicInteger();
    private final LongAdder transfers = new LongAdder();
    private final LongAdder failedTransfers = new LongAdder();
    private final LongAdder bytesLoaded = new LongAdder();
    private final LongAdder blocksLoaded = new LongAdder();
    private final LongAdder loadNanos = new LongAdder();
    private final LongAdder bytesSaved = new LongAdder();
    private volatile long complainedNanos = System.nanoTime() - COMPLAINT_NANOS;
    private volatile boolean closed;

    /// A block of the pool that is to be kept.
    record BlockToSave(BlockHash hash, int blockId) {}

    OffloadWorker(
            OffloadOptions options,
            PagedKv pool,
            Optional<MemoryTier> memory,
            Optional<FileTier> files,
            KvSaves saves,
            Consumer<KvEvent> sink) {
        this.pool = pool;
        this.memory = memory;
        this.files = files;
        this.saves = saves;
        this.sink = sink;
        this.readers = threads(
                "baton-kv-offload-read-",
                options.files().map(OffloadOptions.Files::readThreads).orElse(1));
        this.writers = threads(
                "baton-kv-offload-write-",
                options.files().map(OffloadOptions.Files::writeThreads).orElse(1));
    }

    private static ExecutorService threads(String name, int count) {
        return Executors.newFixedThreadPool(
                count, Thread.ofPlatform().daemon().name(name, 0).factory());
    }

    /// Whether a block need not be saved.
    boolean has(BlockHash hash) {
        return files.isPresent()
                ? files.get().knows(hash)
                : memory.map(tier -> tier.contains(hash)).orElse(false);
    }

    /// A load in flight. It ends once: by itself, by being cancelled, or by its deadline, whatever a file
    /// system does.
    private final class Running {
        private final OffloadLoad load;
        private final long startNanos = System.nanoTime();
        private final ReentrantLock lock = new ReentrantLock();
        private boolean over; // guarded by lock

        Running(OffloadLoad load) {
            this.load = load;
        }

        /// Writes a block of the pool, unless the load is over.
        boolean fill(int index, MemorySegment block) {
            lock.lock();
            try {
                if (!over) {
                    pool.block(load.blockIds()[index]).copyFrom(block);
                }
                return !over;
            } finally {
                lock.unlock();
            }
        }

        /// @return whether this call ended it
        private boolean end() {
            lock.lock();
            try {
                boolean first = !over;
                over = true;
                return first;
            } finally {
                lock.unlock();
            }
        }

        void fail(String reason) {
            if (end()) {
                loads.remove(load.requestId(), this);
                failedTransfers.increment();
                sink.accept(new KvEvent.KvFailed(load.requestId(), reason));
            }
        }

        void arrived(int blocks) {
            if (end()) {
                loads.remove(load.requestId(), this);
                transfers.increment();
                blocksLoaded.add(blocks);
                bytesLoaded.add(blocks * pool.blockBytes());
                loadNanos.add(System.nanoTime() - startNanos);
                sink.accept(new KvEvent.KvArrived(
                        load.requestId(), blocks * pool.blockTokens(), blocks * pool.blockBytes()));
            }
        }

        void run() {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment staging = files.isPresent() ? arena.allocate(pool.blockBytes(), 64) : MemorySegment.NULL;
                int arrived = 0;
                while (arrived < load.hashes().length && !closed && bring(this, arrived, staging)) {
                    arrived++;
                }
                if (closed) {
                    fail(CLOSED);
                } else {
                    arrived(arrived);
                }
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("load of {} failed", load.requestId(), e);
                fail("internal error: " + e);
            }
        }
    }

    void startLoad(OffloadLoad load) {
        Running running = new Running(load);
        loads.put(load.requestId(), running);
        try {
            readers.execute(running::run);
            ScheduledFuture<?> _ = timer.schedule(
                    () -> running.fail("the file system did not answer within %d s".formatted(LIMIT.toSeconds())),
                    LIMIT.toNanos(),
                    TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException e) {
            running.fail(CLOSED);
        }
    }

    /// @return false if the block is not to be had
    private boolean bring(Running load, int index, MemorySegment staging) {
        BlockHash hash = load.load.hashes()[index];
        if (memory.isPresent()) {
            Optional<MemorySegment> kept = memory.get().pin(hash);
            if (kept.isPresent()) {
                try {
                    return load.fill(index, kept.get());
                } finally {
                    memory.get().unpin(hash);
                }
            }
        }
        if (files.isEmpty()) {
            return false;
        }
        try {
            if (!files.get().read(hash, staging)) {
                return false;
            }
        } catch (IOException e) {
            complain("read", e);
            return false;
        }
        keep(hash, staging);
        return load.fill(index, staging);
    }

    /// Puts a block into the memory, if there is room for it.
    private void keep(BlockHash hash, MemorySegment block) {
        if (memory.isPresent()) {
            memory.get().reserve(hash).ifPresent(slot -> {
                slot.copyFrom(block);
                memory.get().publish(hash);
            });
        }
    }

    /// Whether blocks come faster than they are written: further ones are not kept then, so that no request
    /// waits for its blocks to be.
    boolean isBehind() {
        return waitingBlocks.get() > MAX_WAITING_BLOCKS;
    }

    /// Sees to it that a request that is over does not keep its blocks for long, whatever a file system does.
    void limitHold(String requestId) {
        try {
            ScheduledFuture<?> _ = timer.schedule(() -> saves.drop(requestId), LIMIT.toNanos(), TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException e) {
            saves.drop(requestId);
        }
    }

    /// Saves blocks of a request; closes the save.
    void save(KvSaves.Save save, List<BlockToSave> blocks) {
        waitingBlocks.addAndGet(blocks.size());
        try {
            writers.execute(() -> {
                try {
                    write(save, blocks);
                } catch (RuntimeException | OutOfMemoryError e) {
                    LOG.error("blocks were not kept", e);
                } finally {
                    waitingBlocks.addAndGet(-blocks.size());
                    save.close();
                }
            });
        } catch (RejectedExecutionException e) {
            waitingBlocks.addAndGet(-blocks.size());
            save.close();
        }
    }

    private void write(KvSaves.Save save, List<BlockToSave> blocks) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment staging = files.isPresent() ? arena.allocate(pool.blockBytes(), 64) : MemorySegment.NULL;
            for (BlockToSave block : blocks) {
                if (closed || !copy(save, block, staging)) {
                    return;
                }
                bytesSaved.add(pool.blockBytes());
                if (files.isPresent() && !files.get().knows(block.hash())) {
                    files.get().write(block.hash(), staging);
                }
            }
        } catch (IOException e) {
            complain("written", e);
        }
    }

    /// @return false if the block belongs to somebody else by now
    private boolean copy(KvSaves.Save save, BlockToSave block, MemorySegment staging) {
        MemorySegment source = pool.block(block.blockId());
        Optional<MemorySegment> slot = memory.flatMap(tier -> tier.reserve(block.hash()));
        boolean copied = save.read(() -> {
            slot.ifPresent(target -> target.copyFrom(source));
            if (files.isPresent()) {
                staging.copyFrom(source);
            }
        });
        if (slot.isPresent() && copied) {
            memory.orElseThrow().publish(block.hash());
        } else if (slot.isPresent()) {
            memory.orElseThrow().giveUp(block.hash());
        }
        return copied;
    }

    private void complain(String what, IOException e) {
        long now = System.nanoTime();
        if (now - complainedNanos >= COMPLAINT_NANOS) {
            complainedNanos = now;
            LOG.warn("secondary_tiers: a block could not be {}: {}", what, e.getMessage());
        }
    }

    @Override
    public void cancelLoad(String requestId) {
        Running load = loads.get(requestId);
        if (load != null) {
            load.fail("cancelled");
        }
    }

    @Override
    public void release(KvTransferParams params) {
        // no other instance has anything to let go of
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

    KvTransferStats stats() {
        return new KvTransferStats(
                transfers.sum(),
                failedTransfers.sum(),
                bytesLoaded.sum(),
                blocksLoaded.sum(),
                loadNanos.sum(),
                bytesSaved.sum(),
                0,
                0,
                0);
    }

    /// Ends what is under way. A thread that a file system holds is left behind: it writes into nothing any more.
    void close() {
        closed = true;
        timer.shutdownNow().clear();
        loads.values().forEach(load -> load.fail(CLOSED));
        boolean interrupted = false;
        for (ExecutorService threads : List.of(readers, writers)) {
            threads.shutdown();
            try {
                if (!threads.awaitTermination(LIMIT.toSeconds(), TimeUnit.SECONDS)) {
                    LOG.warn("secondary_tiers: the file system does not answer; its threads are left behind");
                }
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
