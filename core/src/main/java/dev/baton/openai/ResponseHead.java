package dev.baton.openai;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import tools.jackson.core.JsonGenerator;

/// What every chunk of a response repeats.
///
/// @param id with its prefix, for example `cmpl-...`
/// @param createdSeconds Unix time
public record ResponseHead(String id, long createdSeconds, String model, String systemFingerprint) {
    /// A whole answer.
    ///
    /// @param choiceFields writes what follows a choice's index
    /// @param ownFields writes what only this kind of answer has
    byte[] full(
            String object,
            List<Choice> choices,
            BiConsumer<JsonGenerator, Choice> choiceFields,
            Usage usage,
            Consumer<JsonGenerator> ownFields,
            Map<String, Object> kvTransferParams) {
        return JsonOut.bytes(json -> {
            begin(json, object);
            for (Choice choice : choices) {
                json.writeStartObject();
                json.writeNumberProperty("index", choice.index());
                choiceFields.accept(json, choice);
                json.writeNullProperty("routed_experts");
                json.writeEndObject();
            }
            json.writeEndArray();
            json.writeNullProperty("service_tier");
            writeFingerprint(json);
            usage.writeFull(json);
            ownFields.accept(json);
            JsonOut.mapOrNull(json, "kv_transfer_params", kvTransferParams);
            json.writeNullProperty("ec_transfer_params");
            json.writeNullProperty("metrics");
            json.writeEndObject();
        });
    }

    /// A chunk of one choice.
    ///
    /// @param choiceFields writes what follows the choice's index
    /// @param usage the usage so far, if every chunk carries it
    /// @param lastFields writes what follows the usage
    byte[] chunk(
            String object,
            int index,
            Consumer<JsonGenerator> choiceFields,
            Optional<Usage> usage,
            Consumer<JsonGenerator> lastFields) {
        return JsonOut.bytes(json -> {
            begin(json, object);
            json.writeStartObject();
            json.writeNumberProperty("index", index);
            choiceFields.accept(json);
            json.writeEndObject();
            json.writeEndArray();
            usage.ifPresent(u -> u.writeBrief(json));
            lastFields.accept(json);
            json.writeEndObject();
        });
    }

    /// A chunk of one choice that ends with the fingerprint, if it is to.
    byte[] chunk(
            String object,
            int index,
            Consumer<JsonGenerator> choiceFields,
            Optional<Usage> usage,
            boolean withFingerprint) {
        return chunk(object, index, choiceFields, usage, json -> {
            if (withFingerprint) {
                writeFingerprint(json);
            }
        });
    }

    /// Writes what stands before the choices.
    private void begin(JsonGenerator json, String object) {
        json.writeStartObject();
        json.writeStringProperty("id", id);
        json.writeStringProperty("object", object);
        json.writeNumberProperty("created", createdSeconds);
        json.writeStringProperty("model", model);
        json.writeArrayPropertyStart("choices");
    }

    private void writeFingerprint(JsonGenerator json) {
        json.writeStringProperty("system_fingerprint", systemFingerprint);
    }

    /// A last chunk without choices.
    byte[] usageChunk(String object, Usage usage) {
        return JsonOut.bytes(json -> {
            begin(json, object);
            json.writeEndArray();
            usage.writeBrief(json);
            writeFingerprint(json);
            json.writeEndObject();
        });
    }
}
