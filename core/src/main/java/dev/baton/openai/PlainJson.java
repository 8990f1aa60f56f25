package dev.baton.openai;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// JSON as the plain values that chat templates work on: maps, lists, strings, numbers, booleans and null.
///
/// Null stays null wherever it stands, as with `json.loads`: a template tells `none` from a field that is absent.
final class PlainJson {
    private PlainJson() {}

    static Map<String, @Nullable Object> map(JsonNode object) {
        Map<String, @Nullable Object> plain = new LinkedHashMap<>();
        object.properties().forEach(entry -> plain.put(entry.getKey(), value(entry.getValue())));
        return plain;
    }

    static List<@Nullable Object> list(JsonNode array) {
        List<@Nullable Object> plain = new ArrayList<>(array.size());
        array.forEach(item -> plain.add(value(item)));
        return plain;
    }

    private static @Nullable Object value(JsonNode node) {
        if (node.isObject()) {
            return map(node);
        }
        if (node.isArray()) {
            return list(node);
        }
        if (node.isString()) {
            Text.requireWellFormed(node.stringValue(), "body.messages");
            return node.stringValue();
        }
        if (node.isBoolean()) {
            return node.booleanValue();
        }
        if (node.isIntegralNumber()) {
            return node.canConvertToLong() ? (Object) node.longValue() : node.bigIntegerValue();
        }
        return node.isNumber() ? (Object) node.doubleValue() : null;
    }
}
