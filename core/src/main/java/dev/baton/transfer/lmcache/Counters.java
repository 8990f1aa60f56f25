package dev.baton.transfer.lmcache;

import dev.baton.transfer.KvTransferStats;
import java.util.concurrent.atomic.LongAdder;

/// What the connector's threads count. Thread-safe.
final class Counters {
    final LongAdder loads = new LongAdder();
    final LongAdder failedLoads = new LongAdder();
    final LongAdder loadedBytes = new LongAdder();
    final LongAdder loadedBlocks = new LongAdder();
    final LongAdder loadNanos = new LongAdder();
    final LongAdder lookupTokens = new LongAdder();
    final LongAdder hitTokens = new LongAdder();
    final LongAdder storedTokens = new LongAdder();
    final LongAdder storedBytes = new LongAdder();
    final LongAdder droppedSaves = new LongAdder();
    final LongAdder badChunks = new LongAdder();
    final LongAdder tierFailures = new LongAdder();
    final LongAdder expiredHolds = new LongAdder();

    KvTransferStats snapshot() {
        return new KvTransferStats(
                loads.sum(),
                failedLoads.sum(),
                loadedBytes.sum(),
                loadedBlocks.sum(),
                loadNanos.sum(),
                storedBytes.sum(),
                badChunks.sum(),
                0,
                expiredHolds.sum());
    }

    @Override
    public String toString() {
        return "%d of %d tokens looked up were hits, %d tokens stored; not saved %d chunks, bad %d chunks, failures %d"
                .formatted(
                        hitTokens.sum(),
                        lookupTokens.sum(),
                        storedTokens.sum(),
                        droppedSaves.sum(),
                        badChunks.sum(),
                        tierFailures.sum());
    }
}
