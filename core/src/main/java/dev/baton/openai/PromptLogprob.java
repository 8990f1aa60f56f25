package dev.baton.openai;

import java.util.List;
import java.util.Optional;
import tools.jackson.core.JsonGenerator;

/// The log-probabilities at one position of a prompt: of the token that stands there, and of the likeliest ones.
///
/// @param candidates the prompt's token first, each token once; empty at the first position, which nothing stands
///     before
public record PromptLogprob(List<Candidate> candidates) {
    /// A token that could stand at the position.
    ///
    /// @param rank 1 for the likeliest
    /// @param text the token, decoded
    public record Candidate(int tokenId, float logprob, int rank, String text) {
        public Candidate {
            logprob = Math.max(logprob, TokenLogprob.FLOOR);
        }
    }

    /// Writes the field `prompt_logprobs`: a map from token ids a position, `null` for the first.
    static void write(JsonGenerator json, Optional<List<PromptLogprob>> positions) {
        if (positions.isEmpty()) {
            json.writeNullProperty("prompt_logprobs");
            return;
        }
        json.writeArrayPropertyStart("prompt_logprobs");
        positions.get().forEach(position -> position.write(json));
        json.writeEndArray();
    }

    private void write(JsonGenerator json) {
        if (candidates.isEmpty()) {
            json.writeNull();
            return;
        }
        json.writeStartObject();
        for (Candidate candidate : candidates) {
            json.writeObjectPropertyStart(Integer.toString(candidate.tokenId()));
            json.writeNumberProperty("logprob", candidate.logprob());
            json.writeNumberProperty("rank", candidate.rank());
            json.writeStringProperty("decoded_token", candidate.text());
            json.writeEndObject();
        }
        json.writeEndObject();
    }
}
