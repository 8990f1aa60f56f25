package dev.baton.router.policy;

import org.jspecify.annotations.Nullable;

/// The work of one request on its engines, from the decision to the end. Not thread-safe: used under the policy's
/// lock.
final class Assignment {
    /// How far it is.
    enum Phase {
        PREFILL,
        TRANSFER,
        STREAM
    }

    /// Where the prompt is computed; none if that is the decoder.
    final @Nullable EngineState prefiller;

    final EngineState decoder;
    final PromptEstimate prompt;
    final double expectedMillis;

    /// Of the decision.
    final long number;

    final long routedNanos;

    Phase phase = Phase.PREFILL;
    long prefilledNanos;
    long firstTokenNanos;
    double streamMillisBefore;
    double prefilledMillisBefore;

    Assignment(
            @Nullable EngineState prefiller,
            EngineState decoder,
            PromptEstimate prompt,
            double expectedMillis,
            long number,
            long routedNanos) {
        this.prefiller = prefiller;
        this.decoder = decoder;
        this.prompt = prompt;
        this.expectedMillis = expectedMillis;
        this.number = number;
        this.routedNanos = routedNanos;
    }

    /// How much there is to do for a prompt, in tokens.
    ///
    /// @param tokens of the prompt
    /// @param prefillerCached of them that the prefiller is believed to hold
    /// @param decoderCached of them that the decoder is believed to hold
    /// @param held of them that went to the computing engine some time
    record PromptEstimate(double tokens, double prefillerCached, double decoderCached, double held) {}

    /// Where the prompt is computed.
    EngineState computes() {
        EngineState other = prefiller;
        return other == null ? decoder : other;
    }

    /// Prompt tokens that are believed to lie in that engine's cache.
    double cachedTokens() {
        return prefiller == null ? prompt.decoderCached() : prompt.prefillerCached();
    }

    /// Prompt tokens that it has to compute.
    double computedTokens() {
        return Math.max(1, prompt.tokens() - cachedTokens());
    }

    /// Prompt tokens that have to be moved to the decoder.
    double movedTokens() {
        return prefiller == null ? 0 : Math.max(0, prompt.tokens() - prompt.decoderCached());
    }
}
