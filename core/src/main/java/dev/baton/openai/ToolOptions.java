package dev.baton.openai;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// What a chat request says about tools: `tools`, `tool_choice`, `parallel_tool_calls`.
///
/// @param tools empty if there are none
/// @param parallel whether one answer may call more than one tool
public record ToolOptions(List<Tool> tools, ToolChoice choice, boolean parallel) {
    private static final String USAGE =
            "Correct usage: `{\"type\": \"function\", \"function\": {\"name\":" + " \"my_function\"}}`";
    private static final int MAX_TOOLS = 1024;

    /// Reads the fields.
    ///
    /// @throws ApiException with vLLM's answer to what is wrong
    static ToolOptions read(Fields fields) {
        Optional<JsonNode> list = fields.list("tools");
        Optional<JsonNode> choice = fields.node("tool_choice");
        boolean parallel = fields.flag("parallel_tool_calls", true);
        fields.check();
        if (list.isPresent() && list.get().isEmpty()) {
            throw bad(
                    "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.",
                    "tools");
        }
        boolean none = choice.isPresent() && isText(choice.get(), "none");
        if (choice.isPresent() && !none) {
            if (list.isEmpty()) {
                throw bad("When using `tool_choice`, `tools` must be set.", "tool_choice");
            }
            requireChoice(choice.get());
        }
        List<Tool> tools = list.map(items -> tools(fields, items)).orElse(List.of());
        fields.check();
        if (tools.isEmpty() || none) {
            return new ToolOptions(tools, new ToolChoice.None(), parallel);
        }
        if (choice.isEmpty()) {
            boolean saysNull = fields.isNull("tool_choice");
            return new ToolOptions(tools, saysNull ? new ToolChoice.Unset() : new ToolChoice.Auto(), parallel);
        }
        return new ToolOptions(tools, choice(fields, choice.get(), tools), parallel);
    }

    /// The `tools` of a request that has no choice.
    static List<Tool> readTools(Fields fields) {
        List<Tool> tools =
                fields.list("tools").map(items -> tools(fields, items)).orElse(List.of());
        fields.check();
        return tools;
    }

    /// The tool that must be called, if the request names one.
    public Optional<Tool> named() {
        return choice instanceof ToolChoice.Named named
                ? tools.stream()
                        .filter(tool -> tool.name().equals(named.function()))
                        .findFirst()
                : Optional.empty();
    }

    private static List<Tool> tools(Fields fields, JsonNode items) {
        if (items.size() > MAX_TOOLS) {
            throw new ApiException(ApiError.badRequest(
                    "tools must have at most " + MAX_TOOLS + " items, got " + items.size() + ".", "tools"));
        }
        List<Tool> tools = new ArrayList<>();
        int index = 0;
        for (JsonNode item : items) {
            Tool.read(fields, item, index++).ifPresent(tools::add);
        }
        return List.copyOf(tools);
    }

    private static void requireChoice(JsonNode choice) {
        if (isText(choice, "auto") || isText(choice, "required")) {
            return;
        }
        if (!choice.isObject()) {
            throw bad(
                    "Invalid value for `tool_choice`: " + Validation.brief(choice)
                            + "! Only named tools, \"none\", \"auto\" or \"required\" are supported.",
                    "tool_choice");
        }
        JsonNode function = choice.path("function");
        if (!function.isObject()) {
            String said = function.isMissingNode() ? "None" : Validation.brief(function);
            throw bad(
                    "Invalid value for `function`: `" + said + "` in `tool_choice`! " + USAGE, "tool_choice.function");
        }
        if (!function.has("name")) {
            throw bad("Expected field `name` in `function` in `tool_choice`! " + USAGE, "tool_choice.function.name");
        }
        JsonNode name = function.path("name");
        if (!name.isString() || name.stringValue().isEmpty()) {
            throw bad(
                    "Invalid `name` in `function`: `" + Validation.brief(name) + "` in `tool_choice`! " + USAGE,
                    "tool_choice.function.name");
        }
    }

    private static ToolChoice choice(Fields fields, JsonNode choice, List<Tool> tools) {
        if (choice.isString()) {
            return isText(choice, "auto") ? new ToolChoice.Auto() : new ToolChoice.Required();
        }
        String name = choice.path("function").path("name").stringValue();
        if (tools.stream().noneMatch(tool -> tool.name().equals(name))) {
            throw bad("The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice");
        }
        JsonNode type = choice.path("type");
        if (!type.isMissingNode() && !isText(type, "function")) {
            fields.wrong("literal_error", "tool_choice.type", "Input should be 'function'", type);
            fields.check();
        }
        return new ToolChoice.Named(name);
    }

    private static boolean isText(JsonNode node, String text) {
        return node.isString() && node.stringValue().equals(text);
    }

    private static ApiException bad(String message, String param) {
        return new ApiException(ApiError.badRequest(message + " (parameter=" + param + ")", param));
    }
}
