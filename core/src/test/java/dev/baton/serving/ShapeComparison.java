package dev.baton.serving;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import tools.jackson.databind.JsonNode;

/// Compares two answers by their shape: the same keys with values of the same types, lists that are both empty
/// or both not, and equal values where the value is a word of the protocol. Ids, times, texts and numbers may
/// differ, and so may whether a value is `null`. Of lists the first and the last item are compared. Of a map by
/// tokens, whose keys the model chooses, the first values are; the bytes of a token may be none.
///
/// A key more than expected is not a difference; a key less is one, unless its value was `null`.
final class ShapeComparison {
    /// Keys whose values must be equal.
    private static final Set<String> WORDS = Set.of("object", "finish_reason", "param", "code", "type");

    /// Keys of maps from token to log-probability.
    private static final Set<String> BY_TOKEN = Set.of("top_logprobs", "prompt_logprobs");

    private final List<String> differences = new ArrayList<>();

    private ShapeComparison() {}

    /// What differs, one sentence each.
    static List<String> differences(JsonNode expected, JsonNode actual) {
        ShapeComparison comparison = new ShapeComparison();
        comparison.compare(expected, actual, "answer");
        return comparison.differences;
    }

    private void compare(JsonNode expected, JsonNode actual, String path) {
        if (expected.isNull() || actual.isNull()) {
            return;
        }
        if (!kind(expected).equals(kind(actual))) {
            differences.add(path + ": " + kind(expected) + " expected, " + kind(actual) + " found");
        } else if (expected.isObject()) {
            for (Map.Entry<String, JsonNode> entry : expected.properties()) {
                compareField(entry.getKey(), entry.getValue(), actual, path + "." + entry.getKey());
            }
        } else if (expected.isArray()) {
            compareItems(expected, actual, path);
        }
    }

    private void compareField(String key, JsonNode expected, JsonNode object, String path) {
        JsonNode actual = object.path(key);
        if (actual.isMissingNode()) {
            if (!expected.isNull()) {
                differences.add(path + ": missing");
            }
        } else if (WORDS.contains(key) && expected.isValueNode() && !expected.isNull() && !expected.equals(actual)) {
            differences.add(path + ": " + expected + " expected, " + actual + " found");
        } else if (BY_TOKEN.contains(key) && expected.isArray() && actual.isArray()) {
            compareByToken(expected, actual, path);
        } else if (!key.equals("bytes") || !actual.isArray()) {
            compare(expected, actual, path);
        }
    }

    private void compareByToken(JsonNode expected, JsonNode actual, String path) {
        boolean maps = !expected.isEmpty()
                && expected.get(expected.size() - 1).path("token").isMissingNode();
        if (maps && !actual.isEmpty()) {
            JsonNode last = actual.get(actual.size() - 1);
            compare(firstValue(expected.get(expected.size() - 1)), firstValue(last), path + "[-1]");
        } else {
            compareItems(expected, actual, path);
        }
    }

    private static JsonNode firstValue(JsonNode map) {
        return map.properties().stream().map(Map.Entry::getValue).findFirst().orElse(map);
    }

    private void compareItems(JsonNode expected, JsonNode actual, String path) {
        if (expected.isEmpty() || actual.isEmpty()) {
            if (expected.isEmpty() != actual.isEmpty()) {
                differences.add(path + ": " + expected.size() + " items expected, " + actual.size() + " found");
            }
            return;
        }
        compare(expected.get(0), actual.get(0), path + "[0]");
        if (expected.size() > 1 || actual.size() > 1) {
            compare(expected.get(expected.size() - 1), actual.get(actual.size() - 1), path + "[-1]");
        }
    }

    private static String kind(JsonNode node) {
        return switch (node.getNodeType()) {
            case OBJECT -> "object";
            case ARRAY -> "list";
            case STRING -> "text";
            case NUMBER -> "number";
            case BOOLEAN -> "boolean";
            default -> "nothing";
        };
    }
}
