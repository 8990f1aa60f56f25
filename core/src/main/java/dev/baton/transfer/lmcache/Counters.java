package dev.baton.transfer.lmcache;

import dev.baton.metrics.Metrics;
import dev.baton.metrics.SharedHistogram;
import dev.baton.transfer.KvTransferStats;
import java.util.concurrent.atomic.LongAdder;

/// What the connector's threads count. Thread-safe.
final class Counters {
    private static final double[] SECONDS = {
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10
    };
    private static final double[] TOKENS_PER_SECOND = {
        1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536
    };

    final LongAdder begunLoads = new LongAdder();
    final LongAdder loads = new LongAdder();
    final LongAdder failedLoads = new LongAdder();
    final LongAdder loadedBytes = new LongAdder();
    final LongAdder loadedBlocks = new LongAdder();
    final LongAdder loadNanos = new LongAdder();
    final LongAdder lookupTokens = new LongAdder();
    final LongAdder hitTokens = new LongAdder();
    final LongAdder missedLoads = new LongAdder();
    final LongAdder stores = new LongAdder();
    final LongAdder storedTokens = new LongAdder();
    final LongAdder storedBytes = new LongAdder();
    final LongAdder droppedSaves = new LongAdder();
    final LongAdder badChunks = new LongAdder();
    final LongAdder tierFailures = new LongAdder();
    final LongAdder expiredHolds = new LongAdder();

    private final SharedHistogram loadSeconds = new SharedHistogram(SECONDS);
    private final SharedHistogram loadSpeed = new SharedHistogram(TOKENS_PER_SECOND);
    private final SharedHistogram storeSeconds = new SharedHistogram(SECONDS);
    private final SharedHistogram storeSpeed = new SharedHistogram(TOKENS_PER_SECOND);

    /// Notes a load that ended well.
    void loaded(int numTokens, long numBytes, int numBlocks, long nanos) {
        loads.increment();
        hitTokens.add(numTokens);
        loadedBytes.add(numBytes);
        loadedBlocks.add(numBlocks);
        loadNanos.add(nanos);
        if (numTokens == 0) {
            missedLoads.increment();
        } else {
            loadSeconds.observe(nanos / 1e9);
            loadSpeed.observe(numTokens / (nanos / 1e9));
        }
    }

    /// Notes a chunk that is in at least one tier now.
    void stored(int numTokens, long nanos) {
        storedTokens.add(numTokens);
        storeSeconds.observe(nanos / 1e9);
        storeSpeed.observe(numTokens / (nanos / 1e9));
    }

    /// Under LMCache's names. A request is looked up and retrieved in one here, and a store request is one chunk.
    void addTo(Metrics metrics) {
        metrics.counter("lmcache:num_lookup_requests", "Prompts looked up.", begunLoads::sum);
        metrics.counter("lmcache:num_lookup_tokens", "Tokens looked up.", lookupTokens::sum);
        metrics.counter("lmcache:num_lookup_hits", "Tokens looked up that were there.", hitTokens::sum);
        metrics.counter("lmcache:lookup_0_hit_requests", "Prompts of which nothing was there.", missedLoads::sum);
        metrics.counter("lmcache:num_retrieve_requests", "Prompts to be loaded.", begunLoads::sum);
        metrics.counter("lmcache:num_requested_tokens", "Tokens to be loaded.", lookupTokens::sum);
        metrics.counter("lmcache:num_hit_tokens", "Tokens loaded.", hitTokens::sum);
        metrics.counter("lmcache:num_store_requests", "Chunks to be saved.", stores::sum);
        metrics.counter("lmcache:num_stored_tokens", "Tokens saved.", storedTokens::sum);
        metrics.histogram("lmcache:time_to_retrieve", "Seconds for a load that brought tokens.", loadSeconds);
        metrics.histogram("lmcache:retrieve_speed", "Tokens a second of such a load.", loadSpeed);
        metrics.histogram("lmcache:time_to_store", "Seconds to save a chunk.", storeSeconds);
        metrics.histogram("lmcache:store_speed", "Tokens a second saved.", storeSpeed);
    }

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
