package dev.baton.openai;

import java.io.ByteArrayOutputStream;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/// Writes JSON field by field: which fields are absent and which are `null` is part of the protocol.
final class JsonOut {
    private static final JsonFactory FACTORY = new JsonFactory();

    private JsonOut() {}

    static byte[] bytes(Consumer<JsonGenerator> content) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(384);
        try (JsonGenerator json = FACTORY.createGenerator(ObjectWriteContext.empty(), out)) {
            content.accept(json);
        }
        return out.toByteArray();
    }

    static void stringOrNull(JsonGenerator json, String name, Optional<String> value) {
        if (value.isPresent()) {
            json.writeStringProperty(name, value.get());
        } else {
            json.writeNullProperty(name);
        }
    }

    static void intOrNull(JsonGenerator json, String name, OptionalInt value) {
        if (value.isPresent()) {
            json.writeNumberProperty(name, value.getAsInt());
        } else {
            json.writeNullProperty(name);
        }
    }

    static void intsOrNull(JsonGenerator json, String name, Optional<int[]> values) {
        if (values.isPresent()) {
            json.writeName(name);
            json.writeArray(values.get(), 0, values.get().length);
        } else {
            json.writeNullProperty(name);
        }
    }

    /// An object of texts, numbers, booleans, and lists and maps of these; `null` if it is empty.
    static void mapOrNull(JsonGenerator json, String name, Map<String, Object> fields) {
        json.writeName(name);
        if (fields.isEmpty()) {
            json.writeNull();
        } else {
            write(json, fields);
        }
    }

    private static void write(JsonGenerator json, @Nullable Object value) {
        switch (value) {
            case null -> json.writeNull();
            case String text -> json.writeString(text);
            case Boolean truth -> json.writeBoolean(truth);
            case Integer number -> json.writeNumber(number);
            case Long number -> json.writeNumber(number);
            case Double number -> json.writeNumber(number);
            case List<?> list -> {
                json.writeStartArray();
                list.forEach(item -> write(json, item));
                json.writeEndArray();
            }
            case Map<?, ?> map -> {
                json.writeStartObject();
                map.forEach((key, item) -> {
                    json.writeName(key.toString());
                    write(json, item);
                });
                json.writeEndObject();
            }
            default ->
                throw new IllegalArgumentException(
                        "no JSON for a " + value.getClass().getSimpleName());
        }
    }
}
