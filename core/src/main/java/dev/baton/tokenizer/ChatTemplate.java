package dev.baton.tokenizer;

import java.util.List;
import java.util.Map;

/// A model's chat template, compiled once. Thread-safe.
@SuppressWarnings("DoNotCallSuggester")
public final class ChatTemplate {
    private ChatTemplate() {}

    /// Compiles a Jinja chat template.
    public static ChatTemplate compile(String jinja, Map<String, String> specialTokens) {
        throw new UnsupportedOperationException("being written");
    }

    /// Renders a conversation to the prompt's text.
    public String render(List<Map<String, Object>> messages, boolean addGenerationPrompt, Map<String, Object> extra) {
        throw new UnsupportedOperationException("being written");
    }
}
