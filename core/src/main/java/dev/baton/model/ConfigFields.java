package dev.baton.model;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/// The fields of one JSON object of a model folder, with errors in one sentence that names the file. A field that
/// is `null` counts as absent.
///
/// @param file for the messages
/// @param object what the fields are read from
public record ConfigFields(Path file, JsonNode object) {
    /// Whether there is a value other than `null`.
    public boolean has(String name) {
        return object.hasNonNull(name);
    }

    /// Whether the value is there and is `null`: said, unlike a field that is absent.
    public boolean isNull(String name) {
        return object.has(name) && object.get(name).isNull();
    }

    JsonNode node(String name) {
        JsonNode value = object.get(name);
        if (value == null || value.isNull()) {
            throw wrong(name + " is missing");
        }
        return value;
    }

    /// An integer of at least 1.
    public int positive(String name) {
        return integer(name, 1, "a positive integer");
    }

    /// An integer of at least 0.
    public int notNegative(String name) {
        return integer(name, 0, "an integer of at least 0");
    }

    private int integer(String name, int least, String needed) {
        JsonNode value = node(name);
        if (!value.isIntegralNumber() || !value.canConvertToInt() || value.asInt() < least) {
            throw wrong(name + " is " + value + ", " + needed + " is needed");
        }
        return value.asInt();
    }

    /// A number of any kind.
    public double number(String name) {
        JsonNode value = node(name);
        if (!value.isNumber()) {
            throw wrong(name + " is " + value + ", a number is needed");
        }
        return value.asDouble();
    }

    /// `true` or `false`.
    ///
    /// @param absent what it means if it is not there
    public boolean flag(String name, boolean absent) {
        if (!has(name)) {
            return absent;
        }
        if (!node(name).isBoolean()) {
            throw wrong(name + " is " + node(name) + ", true or false is needed");
        }
        return node(name).asBoolean();
    }

    /// A list of texts.
    public List<String> texts(String name) {
        JsonNode value = node(name);
        if (!value.isArray()) {
            throw wrong(name + " is " + value + ", a list is needed");
        }
        return value.values().stream().map(element -> element.asString("")).toList();
    }

    /// A token id or a list of them.
    List<Integer> tokenIds(String name, int vocabSize) {
        JsonNode value = node(name);
        List<Integer> integers = new ArrayList<>();
        for (JsonNode element : value.isArray() ? value.values() : List.of(value)) {
            if (!element.canConvertToInt()) {
                throw wrong(name + " is " + value + ", an integer or a list of integers is needed");
            }
            if (element.asInt() < 0 || element.asInt() >= vocabSize) {
                throw wrong(name + " has token id " + element.asInt() + "; vocab_size is " + vocabSize
                        + ", so the ids are 0 to " + (vocabSize - 1));
            }
            integers.add(element.asInt());
        }
        return List.copyOf(integers);
    }

    /// Refuses a field that asks for something that is not built; absent is as good as the one value that is.
    public void mustBe(String name, String supported) {
        if (has(name) && !node(name).asString("").equals(supported)) {
            throw wrong(name + " is " + node(name) + ", which is not supported; supported: " + supported);
        }
    }

    /// An exception that names the file.
    public ModelException wrong(String what) {
        return new ModelException(file + ": " + what);
    }
}
