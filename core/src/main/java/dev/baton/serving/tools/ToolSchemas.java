package dev.baton.serving.tools;

import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.Tool;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The JSON Schemas of outputs that must call a tool; [ToolParsers#required] and [ToolParsers#forced] read what
/// they describe.
public final class ToolSchemas {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    private static final String DEFINITIONS = "$defs";

    private ToolSchemas() {}

    /// The arguments of one function.
    public static String arguments(Tool tool) {
        return parameters(tool).toString();
    }

    /// An array of calls, at least one.
    ///
    /// @param parallel whether there may be more than one
    /// @throws ApiException if two functions define the same name differently
    public static String calls(List<Tool> tools, boolean parallel) {
        ObjectNode definitions = NODES.objectNode();
        ArrayNode choices = NODES.arrayNode();
        for (Tool tool : tools) {
            ObjectNode parameters = parameters(tool);
            hoist(tool, parameters.remove(DEFINITIONS), definitions);
            ObjectNode call = choices.addObject();
            call.put("type", "object");
            ObjectNode properties = call.putObject("properties");
            properties.putObject("name").putArray("enum").add(tool.name());
            properties.set("parameters", parameters);
            call.putArray("required").add("name").add("parameters");
            call.put("additionalProperties", false);
        }
        ObjectNode schema = NODES.objectNode();
        schema.put("type", "array");
        schema.put("minItems", 1);
        if (!parallel) {
            schema.put("maxItems", 1);
        }
        schema.putObject("items").set("anyOf", choices);
        if (!definitions.isEmpty()) {
            schema.set(DEFINITIONS, definitions);
        }
        return schema.toString();
    }

    /// A function without a schema takes no arguments.
    private static ObjectNode parameters(Tool tool) {
        ObjectNode given = tool.parameters().orElseGet(NODES::objectNode).deepCopy();
        if (given.isEmpty()) {
            given.put("type", "object");
            given.putObject("properties");
            given.put("additionalProperties", false);
        }
        return given;
    }

    /// Definitions are referred to from the root, so that they have to stand there.
    private static void hoist(Tool tool, @Nullable JsonNode from, ObjectNode definitions) {
        if (from == null) {
            return;
        }
        if (!from.isObject()) {
            throw new ApiException(ApiError.badRequest(
                    "`$defs` in the parameters of tool '" + tool.name() + "' must be an object. (parameter=tools)",
                    "tools"));
        }
        for (Map.Entry<String, JsonNode> definition : from.properties()) {
            JsonNode known = definitions.get(definition.getKey());
            if (known != null && !known.equals(definition.getValue())) {
                throw new ApiException(ApiError.badRequest(
                        "Tool definition '" + definition.getKey()
                                + "' has multiple schemas, which is not supported. (parameter=tools)",
                        "tools"));
            }
            definitions.set(definition.getKey(), definition.getValue());
        }
    }
}
