package dev.baton.transfer;

/// One load that the scheduler side decided on and the worker side carries out.
///
/// @param requestId the request's id inside this instance
/// @param source where the blocks lie
/// @param firstBlock index, in the request's block list, of the first block to load; the ones before are cached
///     here
/// @param localBlockIds blocks to fill, for `source.blockIds()[firstBlock ...]`, in order; empty if everything
///     is cached here, in which case the worker only releases the lease
public record KvLoad(String requestId, KvTransferParams.RemotePrefill source, int firstBlock, int[] localBlockIds) {}
