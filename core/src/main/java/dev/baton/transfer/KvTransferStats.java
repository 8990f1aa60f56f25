package dev.baton.transfer;

/// What a connector has done since it started; every number only grows. Named after vLLM's NIXL connector
/// statistics.
///
/// @param numTransfers loads that ended well
/// @param numFailedTransfers loads that failed or were cancelled, but for pushes whose requests had their first
///     token and wanted no more
/// @param bytesTransferred bytes of blocks that loads received and verified
/// @param numDescriptors blocks that loads received and verified
/// @param xferNanos time that the loads that ended well took, from start to arrival, summed
/// @param bytesSent bytes of blocks sent to other instances
/// @param numChecksumErrors blocks that arrived with a wrong checksum
/// @param numFailedNotifications releases and heartbeats that could not be delivered
/// @param numKvExpiredReqs leases that ran out
public record KvTransferStats(
        long numTransfers,
        long numFailedTransfers,
        long bytesTransferred,
        long numDescriptors,
        long xferNanos,
        long bytesSent,
        long numChecksumErrors,
        long numFailedNotifications,
        long numKvExpiredReqs) {

    /// Nothing done yet.
    public static final KvTransferStats ZERO = new KvTransferStats(0, 0, 0, 0, 0, 0, 0, 0, 0);

    /// The sums of both.
    public KvTransferStats plus(KvTransferStats other) {
        return new KvTransferStats(
                numTransfers + other.numTransfers,
                numFailedTransfers + other.numFailedTransfers,
                bytesTransferred + other.bytesTransferred,
                numDescriptors + other.numDescriptors,
                xferNanos + other.xferNanos,
                bytesSent + other.bytesSent,
                numChecksumErrors + other.numChecksumErrors,
                numFailedNotifications + other.numFailedNotifications,
                numKvExpiredReqs + other.numKvExpiredReqs);
    }
}
