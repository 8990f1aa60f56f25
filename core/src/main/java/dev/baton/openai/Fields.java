package dev.baton.openai;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Reads the fields of one JSON object with the leniency of vLLM's validator (`"5"` and `5.0` are integers,
/// `null` is absent) and collects what does not fit. One thread.
final class Fields {
    private static final Set<String> TRUE_WORDS = Set.of("1", "1.0", "true", "t", "yes", "y", "on");
    private static final Set<String> FALSE_WORDS = Set.of("0", "0.0", "false", "f", "no", "n", "off");

    private final ObjectNode object;
    private final String path;
    private final Validation validation;

    private Fields(ObjectNode object, String path, Validation validation) {
        this.object = object;
        this.path = path;
        this.validation = validation;
    }

    /// The fields of a whole body.
    ///
    /// @throws ApiException if it is not an object
    static Fields ofBody(JsonNode body) {
        if (body instanceof ObjectNode object) {
            return new Fields(object, "body", new Validation());
        }
        Validation validation = new Validation();
        validation.add(
                "model_attributes_type",
                "body",
                "Input should be a valid dictionary or object to extract fields from",
                body);
        validation.throwIfAny();
        throw new IllegalStateException("unreachable");
    }

    /// @throws ApiException that names every field that did not fit
    void check() {
        validation.throwIfAny();
    }

    Optional<JsonNode> node(String name) {
        JsonNode value = object.get(name);
        return value == null || value.isNull() ? Optional.empty() : Optional.of(value);
    }

    /// Whether the field is there and says `null`, which for some fields is not the same as its absence.
    boolean isNull(String name) {
        JsonNode value = object.get(name);
        return value != null && value.isNull();
    }

    boolean has(String name) {
        return node(name).isPresent();
    }

    /// Notes that a field must be there and is not.
    void missing(String name) {
        validation.add("missing", loc(name), "Field required", object);
    }

    void wrong(String type, String name, String msg, JsonNode input) {
        validation.add(type, loc(name), msg, input);
    }

    private String loc(String name) {
        return path + "." + name;
    }

    Optional<String> string(String name) {
        Optional<JsonNode> value = node(name);
        if (value.isEmpty()) {
            return Optional.empty();
        }
        if (!value.get().isString()) {
            wrong("string_type", name, "Input should be a valid string", value.get());
            return Optional.empty();
        }
        return Optional.of(wellFormed(value.get().stringValue(), name));
    }

    boolean flag(String name, boolean absent) {
        Optional<JsonNode> value = node(name);
        if (value.isEmpty()) {
            return absent;
        }
        JsonNode node = value.get();
        if (node.isBoolean()) {
            return node.booleanValue();
        }
        boolean scalar = node.isString() || node.isNumber();
        String word = scalar ? node.asString().toLowerCase(Locale.ROOT) : "";
        if (TRUE_WORDS.contains(word)) {
            return true;
        }
        if (!FALSE_WORDS.contains(word)) {
            wrong(
                    scalar ? "bool_parsing" : "bool_type",
                    name,
                    scalar
                            ? "Input should be a valid boolean, unable to interpret input"
                            : "Input should be a valid boolean",
                    node);
            return absent;
        }
        return false;
    }

    OptionalInt integer(String name) {
        OptionalLong value = longInteger(name);
        if (value.isEmpty()) {
            return OptionalInt.empty();
        }
        return OptionalInt.of(Math.clamp(value.getAsLong(), Integer.MIN_VALUE, Integer.MAX_VALUE));
    }

    OptionalLong longInteger(String name) {
        Optional<JsonNode> value = node(name);
        return value.isEmpty() ? OptionalLong.empty() : longInteger(name, value.get());
    }

    private OptionalLong longInteger(String name, JsonNode node) {
        if (node.isBoolean()) {
            return OptionalLong.of(node.booleanValue() ? 1 : 0);
        }
        if (node.isIntegralNumber()) {
            BigInteger big = node.bigIntegerValue();
            if (big.bitLength() > 63) {
                boolean large = big.signum() > 0;
                wrong(
                        large ? "less_than_equal" : "greater_than_equal",
                        name,
                        "Input should be " + (large ? "less" : "greater") + " than or equal to "
                                + (large ? Long.MAX_VALUE : Long.MIN_VALUE),
                        node);
                return OptionalLong.empty();
            }
            return OptionalLong.of(big.longValue());
        }
        if (node.isNumber()) {
            double number = node.doubleValue();
            if (number == Math.rint(number) && Math.abs(number) < 1L << 53) {
                return OptionalLong.of((long) number);
            }
            wrong("int_from_float", name, "Input should be a valid integer, got a number with a fractional part", node);
            return OptionalLong.empty();
        }
        if (node.isString()) {
            try {
                return OptionalLong.of(Long.parseLong(node.stringValue().strip()));
            } catch (NumberFormatException e) {
                wrong(
                        "int_parsing",
                        name,
                        "Input should be a valid integer, unable to parse string as an integer",
                        node);
                return OptionalLong.empty();
            }
        }
        wrong("int_type", name, "Input should be a valid integer", node);
        return OptionalLong.empty();
    }

    OptionalDouble number(String name) {
        Optional<JsonNode> value = node(name);
        return value.isEmpty() ? OptionalDouble.empty() : number(name, value.get());
    }

    private OptionalDouble number(String name, JsonNode node) {
        if (node.isNumber()) {
            return finite(name, node, node.doubleValue());
        }
        if (node.isBoolean()) {
            return OptionalDouble.of(node.booleanValue() ? 1 : 0);
        }
        if (node.isString()) {
            try {
                return finite(name, node, Double.parseDouble(node.stringValue().strip()));
            } catch (NumberFormatException e) {
                wrong(
                        "float_parsing",
                        name,
                        "Input should be a valid number, unable to parse string as a number",
                        node);
                return OptionalDouble.empty();
            }
        }
        wrong("float_type", name, "Input should be a valid number", node);
        return OptionalDouble.empty();
    }

    private OptionalDouble finite(String name, JsonNode node, double value) {
        if (Double.isFinite(value)) {
            return OptionalDouble.of(value);
        }
        wrong("finite_number", name, "Input should be a finite number", node);
        return OptionalDouble.empty();
    }

    Optional<ObjectNode> dict(String name) {
        Optional<JsonNode> value = node(name);
        if (value.isEmpty()) {
            return Optional.empty();
        }
        if (value.get() instanceof ObjectNode dict) {
            return Optional.of(dict);
        }
        wrong("dict_type", name, "Input should be a valid dictionary", value.get());
        return Optional.empty();
    }

    /// The fields of a nested object.
    Optional<Fields> nested(String name) {
        return dict(name).map(dict -> new Fields(dict, loc(name), validation));
    }

    /// The fields of an object inside a list.
    ///
    /// @param loc where it stands under this object, for example `tools.0`
    Fields item(String loc, ObjectNode item) {
        return new Fields(item, loc(loc), validation);
    }

    Optional<JsonNode> list(String name) {
        Optional<JsonNode> value = node(name);
        if (value.isPresent() && !value.get().isArray()) {
            wrong("list_type", name, "Input should be a valid list", value.get());
            return Optional.empty();
        }
        return value;
    }

    List<Integer> integers(String name) {
        Optional<JsonNode> list = list(name);
        if (list.isEmpty()) {
            return List.of();
        }
        List<Integer> result = new ArrayList<>(list.get().size());
        int index = 0;
        for (JsonNode item : list.get()) {
            OptionalLong value = longInteger(name + "." + index++, item);
            if (value.isPresent()) {
                result.add(Math.clamp(value.getAsLong(), Integer.MIN_VALUE, Integer.MAX_VALUE));
            }
        }
        return List.copyOf(result);
    }

    /// A string or a list of strings.
    List<String> strings(String name, int maxItems) {
        Optional<JsonNode> value = node(name);
        if (value.isEmpty()) {
            return List.of();
        }
        JsonNode node = value.get();
        if (node.isString()) {
            return List.of(wellFormed(node.stringValue(), name));
        }
        if (!node.isArray()) {
            wrong("string_type", name, "Input should be a valid string", node);
            wrong("list_type", name, "Input should be a valid list", node);
            return List.of();
        }
        if (node.size() > maxItems) {
            wrong(
                    "too_long",
                    name,
                    "List should have at most " + maxItems + " items after validation, not " + node.size(),
                    node);
            return List.of();
        }
        List<String> result = new ArrayList<>(node.size());
        int index = 0;
        for (JsonNode item : node) {
            if (item.isString()) {
                result.add(wellFormed(item.stringValue(), name));
            } else {
                wrong("string_type", name + "." + index, "Input should be a valid string", item);
            }
            index++;
        }
        return List.copyOf(result);
    }

    /// A map from integers, written as strings, to numbers.
    Map<Integer, Float> integerToNumber(String name) {
        Optional<ObjectNode> dict = dict(name);
        if (dict.isEmpty()) {
            return Map.of();
        }
        Map<Integer, Float> result = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> entry : dict.get().properties()) {
            OptionalDouble value = number(name + "." + entry.getKey(), entry.getValue());
            try {
                int key = Integer.parseInt(entry.getKey().strip());
                value.ifPresent(v -> result.put(key, (float) v));
            } catch (NumberFormatException e) {
                throw new ApiException(ApiError.badRequest(
                        "Found invalid key `" + entry.getKey() + "` in " + name + ". Expected an integer token id.",
                        name));
            }
        }
        return result;
    }

    /// Half of a surrogate pair is no character and has no UTF-8: it is refused where it comes in.
    private String wellFormed(String text, String name) {
        Text.requireWellFormed(text, loc(name));
        return text;
    }
}
