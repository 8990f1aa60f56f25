package dev.baton.engine;

import dev.baton.engine.RequestOutput.TokenLogprobs;
import java.util.List;

/// What one step sampled, request by request in the order of its [SchedulerOutput]. Reused from step to step.
/// Engine thread only.
final class StepOutput {
    /// The request's prompt is not computed to its end yet.
    static final int NO_TOKEN = -1;
    /// The logits held NaN or an infinity: there is no token that could be trusted.
    static final int NOT_FINITE = -2;
    /// What may be drawn, taken together, leaves no token.
    static final int NO_TOKEN_LEFT = -3;
    /// The request's constraint knows no way on from here.
    static final int DEAD_END = -4;
    /// The request's constraint threw an exception.
    static final int CONSTRAINT_FAILED = -5;
    /// The request's own bias or penalties made a logit too large for a float; the model's were finite.
    static final int OUT_OF_RANGE = -6;

    private final int[] tokens;
    private final List<TokenLogprobs>[] logprobs;

    @SuppressWarnings({"unchecked", "rawtypes"}) // an array of List: there is no generic one
    StepOutput(int maxRequests) {
        this.tokens = new int[maxRequests];
        this.logprobs = new List[maxRequests];
    }

    void set(int i, int token, List<TokenLogprobs> tokenLogprobs) {
        tokens[i] = token;
        logprobs[i] = tokenLogprobs;
    }

    /// The token sampled for the i-th request, [#NO_TOKEN], or another negative number if there is none that could
    /// be trusted, for which [#reason] has the words.
    int token(int i) {
        return tokens[i];
    }

    /// One entry if the request asks for log-probabilities, else none.
    List<TokenLogprobs> logprobs(int i) {
        return logprobs[i];
    }

    /// Why there is no token, for the request's client.
    static String reason(int noToken) {
        return switch (noToken) {
            case NOT_FINITE -> "the model's logits are not finite";
            case NO_TOKEN_LEFT ->
                "no token may come next: the constraint of the output, allowed_token_ids, bad_words and min_tokens"
                        + " exclude each other here";
            case DEAD_END -> "no token may come next: the constraint of the output can be neither continued nor ended";
            case CONSTRAINT_FAILED -> "the constraint of the output failed; the log says why";
            case OUT_OF_RANGE ->
                "logit_bias and the penalties together make a logit infinite: logit_bias, repetition_penalty,"
                        + " frequency_penalty or presence_penalty is too far from its neutral value";
            default -> throw new IllegalArgumentException("no reason " + noToken);
        };
    }
}
