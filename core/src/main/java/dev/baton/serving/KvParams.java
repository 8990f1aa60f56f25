package dev.baton.serving;

import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/// Reads the `kv_transfer_params` of a body, unjudged: they are the connector's.
final class KvParams {
    private KvParams() {}

    /// What a body says about its hand-off; [KvTransferParams#NONE] if nothing, or no object.
    static KvTransferParams parse(JsonNode body) {
        JsonNode params = body.path("kv_transfer_params");
        return params.isObject() ? new KvTransferParams(map(params)) : KvTransferParams.NONE;
    }

    private static Map<String, Object> map(JsonNode object) {
        Map<String, Object> fields = new LinkedHashMap<>();
        object.properties().forEach(entry -> {
            if (!entry.getValue().isNull()) {
                fields.put(entry.getKey(), value(entry.getValue()));
            }
        });
        return fields;
    }

    private static List<Object> list(JsonNode array) {
        List<Object> items = new ArrayList<>(array.size());
        for (JsonNode item : array) {
            items.add(value(item));
        }
        return items;
    }

    private static Object value(JsonNode node) {
        if (node.isObject()) {
            return map(node);
        }
        if (node.isArray()) {
            return list(node);
        }
        if (node.isBoolean()) {
            return node.booleanValue();
        }
        if (node.isIntegralNumber() && node.canConvertToInt()) {
            return node.intValue();
        }
        if (node.isIntegralNumber() && node.canConvertToLong()) {
            return node.longValue();
        }
        return node.isNumber() ? (Object) node.doubleValue() : node.asString("");
    }
}
