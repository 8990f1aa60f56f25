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

    /// The token sampled for the i-th request, [#NO_TOKEN] or [#NOT_FINITE].
    int token(int i) {
        return tokens[i];
    }

    /// One entry if the request asks for log-probabilities, else none.
    List<TokenLogprobs> logprobs(int i) {
        return logprobs[i];
    }
}
