package dev.baton.engine;

/// Where the blocks of a KV cache are: `free + cached + inUse == total`, always.
///
/// @param free hold nothing of use
/// @param cached belong to no request but are found again by their hash; may be evicted
/// @param inUse belong to at least one running, waiting, loading or held request
public record BlockUsage(int free, int cached, int inUse, int total) {}
