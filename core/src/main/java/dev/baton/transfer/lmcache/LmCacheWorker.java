package dev.baton.transfer.lmcache;

import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import dev.baton.wire.Threads;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The worker side: carries out loads on a few threads, and ends holds that take too long.
final class LmCacheWorker implements KvConnector.WorkerSide {
    private static final Logger LOG = LoggerFactory.getLogger(LmCacheWorker.class);

    private static final long THREAD_KEEP_ALIVE_SECONDS = 10;
    private static final String CLOSED = "the connector was closed";

    private final LmCacheOptions options;
    private final ChunkLayout layout;
    private final ChunkKeys keys;
    private final Tiers tiers;
    private final Counters counters;
    private final Consumer<KvEvent> sink;
    private final Map<String, ChunkLoad> loads = new ConcurrentHashMap<>();
    private final Map<String, RequestSave> holds = new ConcurrentHashMap<>();
    private final Arena arena = Arena.ofShared();
    private final BlockingQueue<MemorySegment> chunks = new ArrayBlockingQueue<>(Limits.LOAD_THREADS);
    private final ThreadPoolExecutor threads = new ThreadPoolExecutor(
            Limits.LOAD_THREADS,
            Limits.LOAD_THREADS,
            THREAD_KEEP_ALIVE_SECONDS,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            Thread.ofPlatform().daemon().name("baton-kv-load-", 0).factory());
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(
            1, Thread.ofPlatform().daemon().name("baton-kv-timer").factory());
    private final ChunkLoad.Outcome outcome = new Reported();

    LmCacheWorker(
            LmCacheOptions options,
            ChunkLayout layout,
            ChunkKeys keys,
            Tiers tiers,
            Counters counters,
            Consumer<KvEvent> sink) {
        this.options = options;
        this.layout = layout;
        this.keys = keys;
        this.tiers = tiers;
        this.counters = counters;
        this.sink = sink;
        for (int i = 0; i < Limits.LOAD_THREADS; i++) {
            chunks.add(arena.allocate(layout.chunkBytes(), 64));
        }
        timer.setRemoveOnCancelPolicy(true);
    }

    void begin(ChunkLoad load) {
        if (loads.putIfAbsent(load.requestId(), load) != null) {
            throw new TransferException("request %s is loading already".formatted(load.requestId()));
        }
        try {
            threads.execute(() -> run(load));
        } catch (RejectedExecutionException e) {
            load.cancel(CLOSED, outcome);
        }
    }

    private void run(ChunkLoad load) {
        MemorySegment chunk = chunks.remove(); // as many as threads
        try {
            load.run(tiers, layout, keys, chunk, options.minRetrieveTokens(), options.blockingTimeout(), outcome);
        } catch (RuntimeException | OutOfMemoryError e) {
            LOG.error("load of {} failed", load.requestId(), e);
            load.cancel("internal error: " + e, outcome);
        } finally {
            chunks.add(chunk);
        }
    }

    /// Counts a load's end and tells the engine.
    private final class Reported implements ChunkLoad.Outcome {
        @Override
        public void arrived(ChunkLoad load, int numTokens, long numBytes) {
            loads.remove(load.requestId(), load);
            counters.loaded(numTokens, numBytes, Math.ceilDiv(numTokens, layout.blockTokens()), load.elapsedNanos());
            sink.accept(new KvEvent.KvArrived(load.requestId(), numTokens, numBytes));
        }

        @Override
        public void failed(ChunkLoad load, String reason) {
            loads.remove(load.requestId(), load);
            counters.failedLoads.increment();
            LOG.info("KV load of {} failed: {}", load.requestId(), reason);
            sink.accept(new KvEvent.KvFailed(load.requestId(), reason));
        }
    }

    /// Keeps the blocks of a finished request until they have been copied, but not for ever.
    ///
    /// @return false if they have been already
    boolean hold(RequestSave save) {
        String requestId = save.request().requestId();
        holds.put(requestId, save);
        if (!save.hold()) {
            holds.remove(requestId, save);
            return false;
        }
        try {
            ScheduledFuture<?> _ =
                    timer.schedule(() -> expire(save), options.blockingTimeout().toNanos(), TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException e) {
            boolean _ = save.fence();
        }
        return true;
    }

    /// To be told when a hold has ended.
    void holdEnded(RequestSave save) {
        holds.remove(save.request().requestId(), save);
    }

    private void expire(RequestSave save) {
        if (save.fence()) {
            counters.expiredHolds.increment();
            LOG.warn(
                    "request {}: not all its chunks were saved within blocking_timeout_secs",
                    save.request().requestId());
        }
    }

    @Override
    public void cancelLoad(String requestId) {
        ChunkLoad load = loads.get(requestId);
        if (load != null) {
            load.cancel("cancelled", outcome);
        }
    }

    @Override
    public void release(KvTransferParams params) {
        // A store is not told about requests.
    }

    @Override
    public void dropLease(String requestId) {
        RequestSave save = holds.get(requestId);
        if (save != null) {
            boolean _ = save.fence();
        }
    }

    @Override
    public int numLeases() {
        return holds.size();
    }

    @Override
    public int numLoads() {
        return loads.size();
    }

    /// Ends loads and holds; [#awaitEnd] comes once the tiers are disconnected.
    void close() {
        timer.shutdownNow();
        threads.shutdown();
        loads.values().forEach(load -> load.cancel(CLOSED, outcome));
        holds.values().forEach(RequestSave::fence);
        Threads.awaitEnd(timer);
    }

    /// Ends the threads; to be called once the tiers answer no more.
    void awaitEnd() {
        Threads.awaitEnd(threads);
        arena.close();
    }
}
