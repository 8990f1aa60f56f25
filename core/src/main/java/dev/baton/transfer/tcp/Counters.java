package dev.baton.transfer.tcp;

import dev.baton.transfer.KvTransferStats;
import java.util.concurrent.atomic.LongAdder;

/// What the connector's threads count. Thread-safe.
final class Counters {
    final LongAdder transfers = new LongAdder();
    final LongAdder failedTransfers = new LongAdder();
    final LongAdder bytesTransferred = new LongAdder();
    final LongAdder blocksTransferred = new LongAdder();
    final LongAdder xferNanos = new LongAdder();
    final LongAdder bytesSent = new LongAdder();
    final LongAdder checksumErrors = new LongAdder();
    final LongAdder failedNotifications = new LongAdder();

    KvTransferStats snapshot(long expiredLeases) {
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
