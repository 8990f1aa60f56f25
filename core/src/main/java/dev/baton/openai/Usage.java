package dev.baton.openai;

import java.util.OptionalInt;
import tools.jackson.core.JsonGenerator;

/// Token counts of a response.
///
/// @param cachedTokens prompt tokens that came from a cache; empty unless the server shows details
///     (`--enable-prompt-tokens-details`)
public record Usage(int promptTokens, int completionTokens, OptionalInt cachedTokens) {

    /// The form of whole responses: what is not known is `null`.
    void writeFull(JsonGenerator json) {
        json.writeObjectPropertyStart("usage");
        writeCounts(json);
        if (cachedTokens.isPresent()) {
            json.writeObjectPropertyStart("prompt_tokens_details");
            json.writeNumberProperty("cached_tokens", cachedTokens.getAsInt());
            json.writeNullProperty("created_cache_tokens");
            json.writeNullProperty("multimodal_tokens");
            json.writeEndObject();
        } else {
            json.writeNullProperty("prompt_tokens_details");
        }
        json.writeNullProperty("completion_tokens_details");
        json.writeEndObject();
    }

    /// The form of stream chunks: what is not known is absent.
    void writeBrief(JsonGenerator json) {
        json.writeObjectPropertyStart("usage");
        writeCounts(json);
        if (cachedTokens.isPresent()) {
            json.writeObjectPropertyStart("prompt_tokens_details");
            json.writeNumberProperty("cached_tokens", cachedTokens.getAsInt());
            json.writeEndObject();
        }
        json.writeEndObject();
    }

    private void writeCounts(JsonGenerator json) {
        json.writeNumberProperty("prompt_tokens", promptTokens);
        json.writeNumberProperty("total_tokens", promptTokens + completionTokens);
        json.writeNumberProperty("completion_tokens", completionTokens);
    }
}
