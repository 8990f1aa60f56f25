package dev.baton.openai;

import java.util.OptionalInt;
import tools.jackson.core.JsonGenerator;

/// Token counts of a response.
///
/// @param cachedTokens prompt tokens that came from a cache; empty unless the server shows details
///     (`--enable-prompt-tokens-details`)
/// @param createdCacheTokens prompt tokens that were computed and can now be found in the cache; empty for
///     completions, which do not tell
public record Usage(int promptTokens, int completionTokens, OptionalInt cachedTokens, OptionalInt createdCacheTokens) {

    /// Counts without details.
    public Usage(int promptTokens, int completionTokens) {
        this(promptTokens, completionTokens, OptionalInt.empty(), OptionalInt.empty());
    }

    /// The form of whole responses: what is not known is `null`.
    void writeFull(JsonGenerator json) {
        json.writeObjectPropertyStart("usage");
        writeCounts(json);
        if (cachedTokens.isPresent()) {
            json.writeObjectPropertyStart("prompt_tokens_details");
            json.writeNumberProperty("cached_tokens", cachedTokens.getAsInt());
            JsonOut.intOrNull(json, "created_cache_tokens", createdCacheTokens);
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
            if (createdCacheTokens.isPresent()) {
                json.writeNumberProperty("created_cache_tokens", createdCacheTokens.getAsInt());
            }
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
