package dev.baton.openai;

import java.util.List;

/// The log-probability of one token, with the likeliest tokens beside it.
///
/// @param token text of the token
/// @param bytes bytes that it stands for
/// @param logprob NaN for the first token of a prompt, which nothing stands before
/// @param top likeliest tokens in descending order; as many as asked for
public record TokenLogprob(String token, byte[] bytes, float logprob, List<Candidate> top) {
    /// The API has no infinity: what cannot happen gets this value, as in vLLM.
    public static final float FLOOR = -9999f;

    public TokenLogprob {
        logprob = Math.max(logprob, FLOOR);
    }

    /// The first token of a prompt.
    public static TokenLogprob first(String token, byte[] bytes) {
        return new TokenLogprob(token, bytes, Float.NaN, List.of());
    }

    /// Whether there is a log-probability.
    public boolean isKnown() {
        return !Float.isNaN(logprob);
    }

    /// One of the likeliest tokens.
    public record Candidate(String token, byte[] bytes, float logprob) {
        public Candidate {
            logprob = Math.max(logprob, FLOOR);
        }
    }
}
