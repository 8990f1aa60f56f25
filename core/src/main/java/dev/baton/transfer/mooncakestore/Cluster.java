package dev.baton.transfer.mooncakestore;

/// The Mooncake cluster that a client joins, in the words of Mooncake's `setup`.
///
/// @param masterAddress `host:port` of `mooncake_master`
/// @param metadataServer a URL, or `P2PHANDSHAKE`
/// @param segmentBytes memory that this client gives to the cluster; none in most cases
/// @param bufferBytes memory of the client's own for values on their way
record Cluster(
        String masterAddress,
        String metadataServer,
        String protocol,
        String deviceName,
        long segmentBytes,
        long bufferBytes) {}
