package dev.baton.openai;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The part of a request that a chat template turns into a prompt.
///
/// @param messages at least one, as [PlainJson] makes them, without fields that are null. Content is a string:
///     text parts are joined with line breaks, as vLLM does for templates that expect strings
/// @param addGenerationPrompt whether the template opens the assistant's turn
/// @param continueFinalMessage whether the last message is left open, to be gone on with
/// @param templateFields further variables of the template (`chat_template_kwargs`, `tools`, `documents`), null for
///     `none`
public record ChatInput(
        List<Map<String, @Nullable Object>> messages,
        boolean addGenerationPrompt,
        boolean continueFinalMessage,
        Map<String, @Nullable Object> templateFields) {

    private static final int MAX_MESSAGES = 10_000;

    static ChatInput read(Fields fields) {
        Optional<JsonNode> list = fields.list("messages");
        if (!fields.has("messages")) {
            fields.missing("messages");
        }
        boolean addGenerationPrompt = fields.flag("add_generation_prompt", true);
        boolean continueFinalMessage = fields.flag("continue_final_message", false);
        Map<String, @Nullable Object> extra = new LinkedHashMap<>();
        fields.dict("chat_template_kwargs").ifPresent(kwargs -> extra.putAll(PlainJson.map(kwargs)));
        fields.list("documents").ifPresent(documents -> extra.put("documents", PlainJson.list(documents)));
        fields.string("reasoning_effort").ifPresent(effort -> extra.put("reasoning_effort", effort));
        fields.check();
        if (fields.has("chat_template")) {
            throw new ApiException(ApiError.badRequest(
                    "Chat template is passed with request, but --trust-request-chat-template is not set. "
                            + "Refused request with untrusted chat template."));
        }
        if (continueFinalMessage && addGenerationPrompt) {
            throw new ApiException(ApiError.badRequest(
                    "Cannot set both `continue_final_message` and `add_generation_prompt` to True."));
        }
        List<Map<String, @Nullable Object>> messages = new ArrayList<>();
        int index = 0;
        for (JsonNode item : list.orElseThrow()) {
            messages.add(message(fields, item, index++));
        }
        fields.check();
        if (messages.size() > MAX_MESSAGES) {
            throw new ApiException(ApiError.badRequest(
                    "messages must have at most " + MAX_MESSAGES + " items, got " + messages.size() + ".", "messages"));
        }
        if (messages.isEmpty()) {
            throw new ApiException(ApiError.badRequest(
                    "Cannot apply chat template to an empty conversation. Provide at least one message."));
        }
        return new ChatInput(List.copyOf(messages), addGenerationPrompt, continueFinalMessage, extra);
    }

    /// The role of the last message.
    public String lastRole() {
        return String.valueOf(messages.getLast().get("role"));
    }

    /// The text of the last message.
    public String lastContent() {
        return String.valueOf(messages.getLast().getOrDefault("content", ""));
    }

    /// The same with the tools that the template writes about, if there are any.
    ChatInput withTools(List<Tool> tools) {
        if (tools.isEmpty()) {
            return this;
        }
        Map<String, @Nullable Object> all = new LinkedHashMap<>(templateFields);
        all.put("tools", Tool.forTemplate(tools));
        return new ChatInput(messages, addGenerationPrompt, continueFinalMessage, all);
    }

    private static Map<String, @Nullable Object> message(Fields fields, JsonNode item, int index) {
        String loc = "messages." + index;
        if (!(item instanceof ObjectNode message)) {
            fields.wrong("dict_type", loc, "Input should be a valid dictionary", item);
            return Map.of();
        }
        if (!message.path("role").isString()) {
            fields.wrong("missing", loc + ".role", "Field required", item);
            return Map.of();
        }
        Map<String, @Nullable Object> plain = PlainJson.map(message);
        // Clients send back what they got, with null for what was not there: vLLM shows templates no such field.
        plain.values().removeIf(Objects::isNull);
        JsonNode content = message.path("content");
        if (content.isArray()) {
            plain.put("content", joinParts(fields, content, loc));
        } else if (content.isMissingNode() || content.isNull()) {
            plain.put("content", "");
        } else if (!content.isString()) {
            fields.wrong("string_type", loc + ".content", "Input should be a valid string", content);
        }
        if (message.path("role").stringValue().equals("assistant")) {
            MessageToolCalls.read(message)
                    .ifPresentOrElse(calls -> plain.put("tool_calls", calls), () -> plain.remove("tool_calls"));
        }
        return plain;
    }

    private static String joinParts(Fields fields, JsonNode parts, String loc) {
        List<String> texts = new ArrayList<>();
        int index = 0;
        for (JsonNode part : parts) {
            if (part.isString()) {
                texts.add(text(part));
            } else if (part.path("text").isString()
                    && (part.path("type").isMissingNode()
                            || part.path("type").asString("").endsWith("text"))) {
                texts.add(text(part.path("text")));
            } else if (part.isObject() && part.path("type").isString()) {
                throw new ApiException(
                        ApiError.badRequest("This model is not a multimodal model: content part of type `"
                                + part.path("type").stringValue() + "` cannot be used."));
            } else {
                fields.wrong("dict_type", loc + ".content." + index, "Input should be a valid dictionary", part);
            }
            index++;
        }
        return String.join("\n", texts);
    }

    private static String text(JsonNode node) {
        Text.requireWellFormed(node.stringValue(), "body.messages");
        return node.stringValue();
    }
}
