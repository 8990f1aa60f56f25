package dev.baton.transfer.nixl;

import dev.baton.transfer.KvTransferStats;
import java.util.concurrent.atomic.LongAdder;

/// What the connector's threads count. Thread-safe.
final class Counters {
    final LongAdder transfers = new LongAdder();
    final LongAdder failedTransfers = new LongAdder();
    final LongAdder bytesTransferred = new LongAdder();
    final LongAdder descriptors = new LongAdder();
    final LongAdder xferNanos = new LongAdder();
    final LongAdder checksumErrors = new LongAdder();
    final LongAdder failedNotifications = new LongAdder();

    /// NIXL does not say what others read here: bytes sent are 0.
    KvTransferStats snapshot(long expiredLeases) {
        return new KvTransferStats(
                transfers.sum(),
                failedTransfers.sum(),
                bytesTransferred.sum(),
                descriptors.sum(),
                xferNanos.sum(),
                0,
                checksumErrors.sum(),
                failedNotifications.sum(),
                expiredLeases);
    }
}
