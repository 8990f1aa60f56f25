package dev.baton.engine;

import dev.baton.transfer.KvTransferParams;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/// What one step added to a request: one or more tokens, or its end, or both.
///
/// @param tokenIds new tokens, at least one unless the request is finished; the stop token that ends a request
///     is one of them, and whether a client sees it is not decided here
/// @param logprobs one entry a token if asked for, else empty
/// @param promptLogprobs on the first output with a token, if asked for: one entry for each token of the prompt
///     from the second on, given the tokens before it; else empty
/// @param finish set on the last output of a request, and only there
public record RequestOutput(
        int[] tokenIds, List<TokenLogprobs> logprobs, List<TokenLogprobs> promptLogprobs, Optional<Finish> finish) {

    /// How a request ended.
    ///
    /// @param stopTokenId the stop token that ended it, unless it was end-of-sequence
    /// @param lastTokenIsEnd whether the last token ended it, as end-of-sequence or stop token, and is not
    ///     part of the output's text
    /// @param promptTokens length of the prompt, and of what another engine had made of the output
    /// @param cachedTokens prompt tokens that came from the local prefix cache
    /// @param externalTokens prompt tokens that came from another instance
    /// @param held whether the blocks stay, for a decoder or until they are saved; [Engine#abort] ends that early
    /// @param kvTransferParams what the connector tells whoever handles the hand-off; on a prefiller that holds the
    ///     blocks, what a decoder needs
    /// @param timings where the request's time went
    /// @param error one sentence, with [FinishReason#ERROR]
    public record Finish(
            FinishReason reason,
            OptionalInt stopTokenId,
            boolean lastTokenIsEnd,
            int promptTokens,
            int cachedTokens,
            int externalTokens,
            boolean held,
            KvTransferParams kvTransferParams,
            Timings timings,
            Optional<String> error) {}

    /// Where a request's time in the engine went; 0 for a part that it did not reach.
    ///
    /// @param queuedNanos from its submission to its first turn
    /// @param transferNanos from there until blocks from another instance were loaded, well or not; 0 if none were
    /// @param prefillNanos from the first turn to its first token, loads of blocks included
    /// @param decodeNanos from there to its end
    /// @param numPreemptions how often it was put back into the queue on the way
    public record Timings(
            long queuedNanos, long transferNanos, long prefillNanos, long decodeNanos, int numPreemptions) {}

    /// The log-probability of a chosen token and of the likeliest ones.
    ///
    /// @param topTokenIds the likeliest tokens, in descending order; as many as asked for
    /// @param topLogprobs their log-probabilities (natural logarithm)
    /// @param rank rank of the chosen token among all, 1 for the likeliest
    public record TokenLogprobs(float logprob, int rank, int[] topTokenIds, float[] topLogprobs) {}
}
