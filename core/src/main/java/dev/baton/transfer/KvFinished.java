package dev.baton.transfer;

/// How a request stands at its end.
///
/// @param request the request
/// @param tokenIds what it came with and its output; not to be changed, and longer than `numTokens` perhaps
/// @param numTokens how many of `tokenIds` count
/// @param blockIds its blocks, those that hold `numComputedTokens` tokens, in order
/// @param numComputedTokens tokens whose keys and values are in the blocks; the last token of the output has none
/// @param completed whether it ended by length or stop, not by abort or error
public record KvFinished(
        KvRequest request, int[] tokenIds, int numTokens, int[] blockIds, int numComputedTokens, boolean completed) {}
