package dev.baton.transfer;

/// A request as a connector sees it.
///
/// @param requestId its id inside this instance, unique among the requests in flight
/// @param externalId the id that its client or the router gave it, in vLLM's form (`cmpl-<X-Request-Id>-0`):
///     equal on the two instances of a hand-off, not always unique
/// @param tokenIds the tokens that it came with; not to be changed
/// @param params what it says about its hand-off
public record KvRequest(String requestId, String externalId, int[] tokenIds, KvTransferParams params) {
    /// Tokens that it came with.
    public int numTokens() {
        return tokenIds.length;
    }
}
