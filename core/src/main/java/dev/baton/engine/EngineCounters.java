package dev.baton.engine;

import dev.baton.metrics.SingleWriterHistogram;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/// The engine's counters and gauges: written by the engine's thread alone (but for [#queued] and [#queuedTokens]),
/// read by any.
final class EngineCounters {
    /// Weight of the last request in the running mean of [#queuePaceNanos].
    private static final double PACE_WEIGHT = 0.125;

    /// Requests submitted that have not had their first turn; also written by submitting threads.
    final AtomicInteger queued = new AtomicInteger();
    /// Their prompt tokens; also written by submitting threads.
    final AtomicLong queuedTokens = new AtomicLong();
    /// How long it takes lately until one request more has its first turn; 0 as long as none had.
    private final AtomicLong queuePaceNanos = new AtomicLong();

    final AtomicInteger running = new AtomicInteger();
    final AtomicInteger waiting = new AtomicInteger();
    final AtomicInteger held = new AtomicInteger();
    final AtomicInteger loading = new AtomicInteger();
    /// Free blocks in the high half, cached ones in the low half: one word, so that a reader sees them of one
    /// moment.
    private final AtomicLong freeAndCached = new AtomicLong();

    final AtomicLong steps = new AtomicLong();
    final AtomicLong preemptions = new AtomicLong();
    final AtomicLong prefixQueried = new AtomicLong();
    final AtomicLong prefixHit = new AtomicLong();
    final AtomicLong externalQueried = new AtomicLong();
    final AtomicLong externalHit = new AtomicLong();
    final AtomicLong promptTokens = new AtomicLong();
    final AtomicLong generationTokens = new AtomicLong();
    final AtomicLong loadFailures = new AtomicLong();
    final AtomicLong corruptedRequests = new AtomicLong();
    /// Tokens computed a step; the buckets are vLLM's.
    final SingleWriterHistogram iterationTokens =
            new SingleWriterHistogram(1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384);

    /// Takes note of a request that is about to wait. Any thread.
    ///
    /// @return the number of requests that wait now, this one included
    int joinedQueue(int promptTokens) {
        queuedTokens.addAndGet(promptTokens);
        return queued.incrementAndGet();
    }

    /// Takes a request's note back that does not wait after all. Any thread.
    void gaveUp(int promptTokens) {
        queuedTokens.addAndGet(-promptTokens);
        queued.getAndDecrement();
    }

    /// Takes note of a request's first turn.
    void leftQueue(Request request, long nanos) {
        gaveUp(request.promptTokens);
        // It waited for itself and for those before it: with that, a time in which nobody waits counts for nothing.
        double pace = (double) (nanos - request.submittedNanos) / Math.max(1, request.queueLength);
        long mean = queuePaceNanos.getPlain();
        queuePaceNanos.lazySet(Math.max(1, (long) (mean == 0 ? pace : mean + PACE_WEIGHT * (pace - mean))));
    }

    /// When half of a queue will have had its turn; null if nothing is known about that. Half: who comes back then
    /// finds room, and the engine has not run out of work.
    @Nullable
    Duration halfOfQueue(int queueLength) {
        long pace = queuePaceNanos.get();
        return pace == 0 ? null : Duration.ofNanos(pace * Math.ceilDiv(queueLength, 2));
    }

    /// Adds to a counter that only the engine's thread writes: no atomic addition is needed.
    static void add(AtomicLong counter, long amount) {
        counter.lazySet(counter.getPlain() + amount);
    }

    void blocks(int free, int cached) {
        freeAndCached.lazySet(((long) free << 32) | cached);
    }

    EngineStats snapshot(int totalBlocks) {
        long blocks = freeAndCached.get();
        int free = (int) (blocks >>> 32);
        int cached = (int) blocks;
        return new EngineStats(
                running.get(),
                waiting.get(),
                held.get(),
                loading.get(),
                new BlockUsage(free, cached, totalBlocks - free - cached, totalBlocks),
                steps.get(),
                preemptions.get(),
                prefixQueried.get(),
                prefixHit.get(),
                externalQueried.get(),
                externalHit.get(),
                promptTokens.get(),
                generationTokens.get(),
                loadFailures.get(),
                queuedTokens.get(),
                corruptedRequests.get());
    }
}
