package dev.baton.transfer.tcp;

import dev.baton.metrics.Metrics;
import dev.baton.transfer.KvTransferStats;
import java.util.concurrent.atomic.LongAdder;

/// What the connector's threads count. Thread-safe.
public final class Counters {
    /// Loads that ended well.
    public final LongAdder transfers = new LongAdder();
    /// Loads that failed or were cancelled, but for pushes whose requests had their first token and wanted no more.
    public final LongAdder failedTransfers = new LongAdder();
    /// Bytes of blocks received and verified.
    public final LongAdder bytesTransferred = new LongAdder();
    /// Pieces received and verified: blocks, but for NIXL, which counts its descriptors.
    public final LongAdder blocksTransferred = new LongAdder();
    /// Time of the loads that ended well, summed.
    public final LongAdder xferNanos = new LongAdder();
    /// Bytes of blocks sent.
    public final LongAdder bytesSent = new LongAdder();
    /// Loads that took a prompt while its prefiller computed it, and ended well.
    public final LongAdder pushedTransfers = new LongAdder();
    /// Bytes of blocks that arrived before the prefill of their prompt had ended.
    public final LongAdder bytesBeforeFirstToken = new LongAdder();
    /// Blocks that arrived with a wrong checksum.
    public final LongAdder checksumErrors = new LongAdder();
    /// Releases and the like that could not be delivered.
    public final LongAdder failedNotifications = new LongAdder();

    private final LoadHistograms histograms = new LoadHistograms();

    /// Notes a load that ended well.
    ///
    /// @param nanos from its start to the arrival of its last block
    /// @param pieces blocks, or what else it is moved in
    public void loaded(long nanos, long numBytes, long pieces) {
        transfers.increment();
        blocksTransferred.add(pieces);
        bytesTransferred.add(numBytes);
        xferNanos.add(nanos);
        histograms.observe(nanos, numBytes, pieces);
    }

    /// Adds the histograms of loads, under vLLM's names.
    public void addTo(Metrics metrics) {
        histograms.addTo(metrics);
    }

    /// The state now.
    public KvTransferStats snapshot(long expiredLeases) {
        return new KvTransferStats(
                transfers.sum(),
                failedTransfers.sum(),
                bytesTransferred.sum(),
                blocksTransferred.sum(),
                xferNanos.sum(),
                bytesSent.sum(),
                checksumErrors.sum(),
                failedNotifications.sum(),
                expiredLeases);
    }
}
