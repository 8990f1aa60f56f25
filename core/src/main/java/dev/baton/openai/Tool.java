package dev.baton.openai;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// A function that a model may call.
///
/// @param parameters JSON Schema of the arguments, an object's
/// @param strict whether the arguments must obey the schema also where calling is left to the model
public record Tool(
        String name, Optional<String> description, Optional<ObjectNode> parameters, Optional<Boolean> strict) {

    /// Reads one item of `tools`. What is wrong is noted in `fields`.
    static Optional<Tool> read(Fields fields, JsonNode item, int index) {
        String loc = "tools." + index;
        if (!(item instanceof ObjectNode object)) {
            fields.wrong(
                    "model_type",
                    loc,
                    "Input should be a valid dictionary or instance of ChatCompletionToolsParam",
                    item);
            return Optional.empty();
        }
        Fields tool = fields.item(loc, object);
        tool.string("type")
                .filter(type -> !type.equals("function"))
                .ifPresent(
                        type -> tool.wrong("literal_error", "type", "Input should be 'function'", item.path("type")));
        if (!tool.has("function")) {
            tool.missing("function");
        }
        Optional<Fields> function = tool.nested("function");
        if (function.isEmpty()) {
            return Optional.empty();
        }
        Fields inner = function.get();
        if (!inner.has("name")) {
            inner.missing("name");
        }
        Optional<String> name = inner.string("name");
        Optional<String> description = inner.string("description");
        Optional<ObjectNode> parameters = inner.dict("parameters");
        Optional<Boolean> strict = inner.has("strict") ? Optional.of(inner.flag("strict", false)) : Optional.empty();
        return name.map(known -> new Tool(known, description, parameters, strict));
    }

    /// The function as chat templates see it: what is absent is null, as in vLLM, and fields that nobody knows are
    /// left out.
    Map<String, @Nullable Object> forTemplate() {
        Map<String, @Nullable Object> function = new LinkedHashMap<>();
        function.put("name", name);
        function.put("description", description.orElse(null));
        function.put("parameters", parameters.map(PlainJson::map).orElse(null));
        strict.ifPresent(said -> function.put("strict", said));
        Map<String, @Nullable Object> tool = new LinkedHashMap<>();
        tool.put("type", "function");
        tool.put("function", function);
        return tool;
    }

    static List<Object> forTemplate(List<Tool> tools) {
        return tools.stream().<Object>map(Tool::forTemplate).toList();
    }
}
