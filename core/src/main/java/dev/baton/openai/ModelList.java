package dev.baton.openai;

import java.util.List;
import tools.jackson.core.JsonGenerator;

/// The answer of `GET /v1/models` for one model under one or more names.
public final class ModelList {
    private ModelList() {}

    /// The list.
    ///
    /// @param names the names that requests may give
    /// @param root where the model was loaded from
    public static byte[] of(List<String> names, String root, int maxModelLen, long createdSeconds) {
        return JsonOut.bytes(json -> {
            json.writeStartObject();
            json.writeStringProperty("object", "list");
            json.writeArrayPropertyStart("data");
            for (String name : names) {
                writeModel(json, name, root, maxModelLen, createdSeconds);
            }
            json.writeEndArray();
            json.writeEndObject();
        });
    }

    private static void writeModel(JsonGenerator json, String id, String root, int maxModelLen, long createdSeconds) {
        json.writeStartObject();
        json.writeStringProperty("id", id);
        json.writeStringProperty("object", "model");
        json.writeNumberProperty("created", createdSeconds);
        json.writeStringProperty("owned_by", "baton");
        json.writeStringProperty("root", root);
        json.writeNullProperty("parent");
        json.writeNumberProperty("max_model_len", maxModelLen);
        json.writeArrayPropertyStart("permission");
        json.writeStartObject();
        json.writeStringProperty("id", "modelperm-" + id);
        json.writeStringProperty("object", "model_permission");
        json.writeNumberProperty("created", createdSeconds);
        for (String denied : List.of("allow_create_engine", "allow_search_indices", "allow_fine_tuning")) {
            json.writeBooleanProperty(denied, false);
        }
        for (String allowed : List.of("allow_sampling", "allow_logprobs", "allow_view")) {
            json.writeBooleanProperty(allowed, true);
        }
        json.writeStringProperty("organization", "*");
        json.writeNullProperty("group");
        json.writeBooleanProperty("is_blocking", false);
        json.writeEndObject();
        json.writeEndArray();
        json.writeEndObject();
    }
}
