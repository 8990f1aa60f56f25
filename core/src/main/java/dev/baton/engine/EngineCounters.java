package dev.baton.engine;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/// The engine's counters and gauges: written by the engine's thread alone (but for [#queued]), read by any.
final class EngineCounters {
    /// Requests submitted that have not had their first turn; also written by submitting threads.
    final AtomicInteger queued = new AtomicInteger();

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
                loadFailures.get());
    }
}
