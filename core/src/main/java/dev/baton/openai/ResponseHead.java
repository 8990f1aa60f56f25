package dev.baton.openai;

import tools.jackson.core.JsonGenerator;

/// What every chunk of a response repeats.
///
/// @param id with its prefix, for example `cmpl-...`
/// @param createdSeconds Unix time
public record ResponseHead(String id, long createdSeconds, String model, String systemFingerprint) {
    void write(JsonGenerator json, String object) {
        json.writeStringProperty("id", id);
        json.writeStringProperty("object", object);
        json.writeNumberProperty("created", createdSeconds);
        json.writeStringProperty("model", model);
    }

    void writeFingerprint(JsonGenerator json) {
        json.writeStringProperty("system_fingerprint", systemFingerprint);
    }

    /// A last chunk without choices.
    byte[] usageChunk(String object, Usage usage) {
        return JsonOut.bytes(json -> {
            json.writeStartObject();
            write(json, object);
            json.writeArrayPropertyStart("choices");
            json.writeEndArray();
            usage.writeBrief(json);
            writeFingerprint(json);
            json.writeEndObject();
        });
    }
}
