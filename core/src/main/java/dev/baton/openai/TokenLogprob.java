package dev.baton.openai;

import java.util.List;

/// The log-probability of one generated token, with the likeliest tokens beside it.
///
/// @param token text of the token
/// @param bytes bytes that it stands for
/// @param top likeliest tokens in descending order; as many as asked for
public record TokenLogprob(String token, byte[] bytes, float logprob, List<Candidate> top) {
    /// The API has no infinity: what cannot happen gets this value, as in vLLM.
    public static final float FLOOR = -9999f;

    public TokenLogprob {
        logprob = Math.max(logprob, FLOOR);
    }

    /// One of the likeliest tokens.
    public record Candidate(String token, byte[] bytes, float logprob) {
        public Candidate {
            logprob = Math.max(logprob, FLOOR);
        }
    }
}
