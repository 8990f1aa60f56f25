package dev.baton.tokenizer;

import dev.baton.tokenizer.jinja.JinjaException;
import dev.baton.tokenizer.jinja.Template;
import dev.baton.tokenizer.jinja.Text;
import java.time.Clock;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// A model's chat template: turns a conversation into the prompt's text.
///
/// Templates are Jinja, run by Baton's own interpreter with the settings and the extra functions of `transformers`
/// (`apply_chat_template`); the text is the same, or there is an error. Compiled once; thread-safe.
public final class ChatTemplate {
    private static final String CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

    private final Template template;
    private final Template toolUseTemplate;
    private final Map<String, String> specialTokens;

    private ChatTemplate(Template template, Template toolUseTemplate, Map<String, String> specialTokens) {
        this.template = template;
        this.toolUseTemplate = toolUseTemplate;
        this.specialTokens = specialTokens;
    }

    /// Compiles a chat template.
    ///
    /// @param jinja the template's text
    /// @param specialTokens the variables `bos_token`, `eos_token`, ... that the template sees
    /// @throws ChatTemplateException naming the construct and the line that is wrong or not supported
    public static ChatTemplate compile(String jinja, Map<String, String> specialTokens) {
        return compile(jinja, specialTokens, Clock.system(ZoneId.systemDefault()));
    }

    static ChatTemplate compile(String jinja, Map<String, String> specialTokens, Clock clock) {
        Template template = template(jinja, clock);
        return new ChatTemplate(template, template, Map.copyOf(specialTokens));
    }

    /// The template of a model that names several: `tool_use` for conversations with tools, else `default`.
    static Optional<ChatTemplate> fromVariants(Map<String, String> templates, Map<String, String> specialTokens) {
        String general = templates.get("default");
        if (general == null) {
            return Optional.empty();
        }
        Clock clock = Clock.system(ZoneId.systemDefault());
        Template template = template(general, clock);
        String toolUse = templates.get("tool_use");
        return Optional.of(new ChatTemplate(
                template, toolUse == null ? template : template(toolUse, clock), Map.copyOf(specialTokens)));
    }

    private static Template template(String jinja, Clock clock) {
        try {
            return Template.compile(jinja, clock);
        } catch (JinjaException e) {
            throw new ChatTemplateException("chat template: " + e.getMessage(), e);
        }
    }

    /// Renders a conversation.
    ///
    /// @param messages OpenAI-style messages; values are JSON-like (maps, lists, strings, numbers, booleans,
    ///     null) and are not changed
    /// @param addGenerationPrompt whether the prompt ends with the beginning of an assistant's message
    /// @param extra further variables: `tools`, `documents`, and whatever `chat_template_kwargs` holds. The key
    ///     `continue_final_message` is not passed on: true ends the prompt inside the last message's text, and
    ///     excludes `addGenerationPrompt`
    /// @throws ChatTemplateException with the template's own words where it refuses the conversation, else
    ///     naming the construct and the line
    public String render(List<Map<String, Object>> messages, boolean addGenerationPrompt, Map<String, Object> extra) {
        boolean continueFinalMessage = Boolean.TRUE.equals(extra.get("continue_final_message"));
        if (continueFinalMessage && addGenerationPrompt) {
            throw new ChatTemplateException(
                    "continue_final_message and add_generation_prompt are not compatible: the one"
                            + " continues the last message, the other begins a new one; set one of them to false");
        }
        Map<String, @Nullable Object> variables = new HashMap<>(specialTokens);
        variables.put("tools", null);
        variables.put("documents", null);
        variables.putAll(extra);
        variables.remove("continue_final_message");
        variables.put("add_generation_prompt", addGenerationPrompt);
        variables.put("messages", continueFinalMessage ? tagged(messages) : messages);
        try {
            String prompt = (variables.get("tools") == null ? template : toolUseTemplate).render(variables);
            return continueFinalMessage ? cutAtTag(prompt, finalText(messages)) : prompt;
        } catch (JinjaException e) {
            throw new ChatTemplateException(
                    e.raisedByTemplate() ? String.valueOf(e.getMessage()) : "chat template: " + e.getMessage(), e);
        }
    }

    /// The conversation with a mark behind the last message's text, to find its place in the prompt.
    private static List<Map<String, Object>> tagged(List<Map<String, Object>> messages) {
        String text = finalText(messages);
        Map<String, Object> last = new LinkedHashMap<>(messages.getLast());
        if (last.get("content") instanceof List<?> parts) {
            List<@Nullable Object> copy = new ArrayList<>(parts);
            int index = lastTextPart(parts);
            Map<Object, Object> part = new LinkedHashMap<>((Map<?, ?>) parts.get(index));
            part.put("text", text + CONTINUE_TAG);
            copy.set(index, part);
            last.put("content", copy);
        } else {
            last.put("content", text + CONTINUE_TAG);
        }
        List<Map<String, Object>> copy = new ArrayList<>(messages);
        copy.set(copy.size() - 1, last);
        return copy;
    }

    private static String finalText(List<Map<String, Object>> messages) {
        Object content = messages.isEmpty() ? null : messages.getLast().get("content");
        if (content instanceof List<?> parts) {
            int index = lastTextPart(parts);
            content = index < 0 ? null : ((Map<?, ?>) parts.get(index)).get("text");
        }
        if (content instanceof String text) {
            return text;
        }
        throw new ChatTemplateException(
                "continue_final_message is set but we could not find any text to continue in the final message!");
    }

    private static int lastTextPart(List<?> parts) {
        for (int i = parts.size() - 1; i >= 0; i--) {
            if (parts.get(i) instanceof Map<?, ?> part && part.containsKey("text")) {
                return i;
            }
        }
        return -1;
    }

    private static String cutAtTag(String prompt, String finalText) {
        int at = prompt.lastIndexOf(CONTINUE_TAG.trim());
        if (at < 0 || !prompt.contains(Text.strip(finalText))) {
            throw new ChatTemplateException("continue_final_message is set but the final message does not appear in the"
                    + " chat after applying the chat template! This can happen if the chat template deletes portions of"
                    + " the final message");
        }
        String cut = prompt.substring(0, at);
        return prompt.startsWith(CONTINUE_TAG, at) ? cut : Text.stripRight(cut);
    }
}
