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
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Copies blocks between the pool and the tiers, on threads of its own. Thread-safe.
final class OffloadWorker implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(OffloadWorker.class);

    /// Between two lines of the log about a file system that does not do what it should.
    private static final long COMPLAINT_NANOS = Duration.ofSeconds(10).toNanos();

    private final PagedKv pool;
    private final Optional<MemoryTier> memory;
    private final Optional<FileTier> files;
    private final Consumer<KvEvent> sink;
    private final KvSaves saves;
    private final ExecutorService readers;
    private final ExecutorService writers;
    private final Map<String, AtomicBoolean> cancelled = new ConcurrentHashMap<>(); // one entry a load in flight
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

    void startLoad(OffloadLoad load) {
        AtomicBoolean stop = new AtomicBoolean();
        cancelled.put(load.requestId(), stop);
        try {
            readers.execute(() -> run(load, stop));
        } catch (RejectedExecutionException e) {
            fail(load, "the connector was closed");
        }
    }

    private void run(OffloadLoad load, AtomicBoolean stop) {
        long start = System.nanoTime();
        int arrived = 0;
        try {
            while (arrived < load.hashes().length && !stop.get() && !closed) {
                if (!bring(load.hashes()[arrived], pool.block(load.blockIds()[arrived]))) {
                    break;
                }
                arrived++;
            }
        } catch (RuntimeException e) {
            LOG.error("load of {} failed", load.requestId(), e);
            fail(load, "internal error: " + e);
            return;
        }
        if (stop.get() || closed) {
            fail(load, closed ? "the connector was closed" : "cancelled");
            return;
        }
        cancelled.remove(load.requestId());
        transfers.increment();
        blocksLoaded.add(arrived);
        bytesLoaded.add(arrived * pool.blockBytes());
        loadNanos.add(System.nanoTime() - start);
        sink.accept(new KvEvent.KvArrived(load.requestId(), arrived * pool.blockTokens(), arrived * pool.blockBytes()));
    }

    private void fail(OffloadLoad load, String reason) {
        cancelled.remove(load.requestId());
        failedTransfers.increment();
        sink.accept(new KvEvent.KvFailed(load.requestId(), reason));
    }

    private boolean bring(BlockHash hash, MemorySegment target) {
        if (memory.isPresent()) {
            Optional<MemorySegment> kept = memory.get().pin(hash);
            if (kept.isPresent()) {
                target.copyFrom(kept.get());
                memory.get().unpin(hash);
                return true;
            }
        }
        if (files.isEmpty()) {
            return false;
        }
        try {
            if (!files.get().read(hash, target)) {
                return false;
            }
        } catch (IOException e) {
            complain("read", e);
            return false;
        }
        keep(hash, target);
        return true;
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

    /// Saves blocks of a request; closes the save.
    void save(KvSaves.Save save, List<BlockToSave> blocks) {
        try {
            writers.execute(() -> {
                try {
                    write(save, blocks);
                } catch (RuntimeException e) {
                    LOG.error("blocks were not kept", e);
                } finally {
                    save.close();
                }
            });
        } catch (RejectedExecutionException e) {
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
        AtomicBoolean stop = cancelled.get(requestId);
        if (stop != null) {
            stop.set(true);
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
        return cancelled.size();
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

    /// Ends the threads; saves and loads under way end after the block that they are at.
    void close() {
        closed = true;
        for (ExecutorService threads : List.of(readers, writers)) {
            threads.shutdown();
            boolean interrupted = false;
            boolean ended = false;
            while (!ended) {
                try {
                    ended = threads.awaitTermination(1, TimeUnit.MINUTES);
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
