package dev.baton.serving.tools;

import dev.baton.http.Json;
import dev.baton.openai.Tool;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;

/// Makes JSON values of arguments that are written as bare text, by what the function's schema says of them;
/// the rules are those of vLLM's XML parsers.
final class SchemaTypes {
    private static final int MAX_DEPTH = 20;
    private static final List<String> PRIORITY =
            List.of("null", "integer", "number", "boolean", "object", "array", "string");
    private static final Map<String, String> ALIASES = Map.ofEntries(
            Map.entry("str", "string"),
            Map.entry("text", "string"),
            Map.entry("varchar", "string"),
            Map.entry("char", "string"),
            Map.entry("enum", "string"),
            Map.entry("int", "integer"),
            Map.entry("int32", "integer"),
            Map.entry("int64", "integer"),
            Map.entry("uint", "integer"),
            Map.entry("long", "integer"),
            Map.entry("float", "number"),
            Map.entry("float32", "number"),
            Map.entry("float64", "number"),
            Map.entry("double", "number"),
            Map.entry("bool", "boolean"),
            Map.entry("dict", "object"),
            Map.entry("list", "array"));

    private static final Pattern NUMBER = Pattern.compile("[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?");

    private SchemaTypes() {}

    /// One member of the arguments: `"key": value`.
    static String member(List<Tool> tools, String function, String key, String value) {
        return Json.text(key) + ": " + coerce(value, types(tools, function, key));
    }

    private static Set<String> types(List<Tool> tools, String function, String key) {
        Set<String> types = new LinkedHashSet<>();
        tools.stream()
                .filter(tool -> tool.name().equals(function))
                .flatMap(tool -> tool.parameters().stream())
                .forEach(schema -> collect(schema.path("properties").path(key), types, 0));
        return types.isEmpty() ? Set.of("string") : types;
    }

    private static void collect(JsonNode schema, Set<String> types, int depth) {
        if (depth > MAX_DEPTH) {
            return;
        }
        JsonNode type = schema.path("type");
        if (type.isString()) {
            addType(type, types);
        } else {
            type.forEach(each -> addType(each, types));
        }
        schema.path("enum").forEach(each -> types.add(typeOf(each)));
        for (String choices : List.of("anyOf", "oneOf", "allOf")) {
            schema.path(choices).forEach(each -> collect(each, types, depth + 1));
        }
    }

    private static void addType(JsonNode type, Set<String> types) {
        if (type.isString()) {
            String word = type.stringValue().strip().toLowerCase(Locale.ROOT);
            types.add(ALIASES.getOrDefault(word, word));
        }
    }

    private static String typeOf(JsonNode value) {
        return switch (value.getNodeType()) {
            case NULL -> "null";
            case BOOLEAN -> "boolean";
            case NUMBER -> value.isIntegralNumber() ? "integer" : "number";
            case ARRAY -> "array";
            case OBJECT -> "object";
            default -> "string";
        };
    }

    private static String coerce(String value, Set<String> types) {
        for (String type : PRIORITY) {
            Optional<String> json = types.contains(type) ? as(type, value) : Optional.empty();
            if (json.isPresent()) {
                return json.get();
            }
        }
        return json(value).map(Json::text).orElseGet(() -> Json.text(value));
    }

    private static Optional<String> as(String type, String value) {
        String plain = value.strip();
        return switch (type) {
            case "null" -> value.equalsIgnoreCase("null") ? Optional.of("null") : Optional.empty();
            case "integer" -> integer(plain);
            case "number" -> number(plain);
            case "boolean" ->
                switch (plain.toLowerCase(Locale.ROOT)) {
                    case "true", "1" -> Optional.of("true");
                    case "false", "0" -> Optional.of("false");
                    default -> Optional.empty();
                };
            case "object", "array" -> json(value).map(Json::text);
            default -> Optional.of(Json.text(value));
        };
    }

    private static Optional<String> integer(String value) {
        try {
            return Optional.of(new BigInteger(value).toString());
        } catch (NumberFormatException e) {
            return Optional.empty();
        }
    }

    private static Optional<String> number(String value) {
        if (!NUMBER.matcher(value).matches()) {
            return Optional.empty();
        }
        double number = Double.parseDouble(value);
        if (!Double.isFinite(number)) {
            return Optional.empty();
        }
        return Optional.of(
                number == Math.rint(number)
                        ? new BigDecimal(number).toBigInteger().toString()
                        : Double.toString(number));
    }

    private static Optional<JsonNode> json(String value) {
        try {
            return Optional.of(Json.parse(value.getBytes(StandardCharsets.UTF_8)));
        } catch (Json.MalformedException e) {
            return Optional.empty();
        }
    }
}
