package dev.baton.serving;

import dev.baton.openai.ChatCompletionResponses;
import dev.baton.openai.Choice;
import dev.baton.openai.CompletionResponses;
import dev.baton.openai.ResponseHead;
import dev.baton.openai.Usage;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// The two forms that a generation is answered in.
sealed interface ResponseFormat {
    /// What ids begin with.
    String idPrefix();

    /// Whether `usage` says how many tokens are new in the prefix cache.
    boolean tellsCreatedCacheTokens();

    /// How calls of tools are found in the output, if they are.
    default Optional<ToolUse> tools() {
        return Optional.empty();
    }

    byte[] full(ResponseHead head, List<Choice> choices, Usage usage, Map<String, Object> kvTransferParams);

    byte[] chunk(ResponseHead head, Choice choice, Optional<Usage> usage, boolean withFingerprint);

    byte[] usageChunk(ResponseHead head, Usage usage);

    /// `/v1/completions`.
    record Completion() implements ResponseFormat {
        @Override
        public String idPrefix() {
            return "cmpl-";
        }

        @Override
        public boolean tellsCreatedCacheTokens() {
            return false;
        }

        @Override
        public byte[] full(ResponseHead head, List<Choice> choices, Usage usage, Map<String, Object> kvTransferParams) {
            return CompletionResponses.full(head, choices, usage, kvTransferParams);
        }

        @Override
        public byte[] chunk(ResponseHead head, Choice choice, Optional<Usage> usage, boolean withFingerprint) {
            return CompletionResponses.chunk(head, choice, usage, withFingerprint);
        }

        @Override
        public byte[] usageChunk(ResponseHead head, Usage usage) {
            return CompletionResponses.usageChunk(head, usage);
        }
    }

    /// `/v1/chat/completions`.
    ///
    /// @param role the role of the message that is generated
    /// @param promptText what the chat template made of the messages, if the request asks for it
    /// @param tools how calls of tools are found in the output, if they are
    record Chat(String role, Optional<String> promptText, Optional<ToolUse> tools) implements ResponseFormat {
        @Override
        public String idPrefix() {
            return "chatcmpl-";
        }

        @Override
        public boolean tellsCreatedCacheTokens() {
            return true;
        }

        @Override
        public byte[] full(ResponseHead head, List<Choice> choices, Usage usage, Map<String, Object> kvTransferParams) {
            return ChatCompletionResponses.full(head, role, promptText, choices, usage, kvTransferParams);
        }

        @Override
        public byte[] chunk(ResponseHead head, Choice choice, Optional<Usage> usage, boolean withFingerprint) {
            return ChatCompletionResponses.chunk(head, choice, usage, withFingerprint);
        }

        @Override
        public byte[] usageChunk(ResponseHead head, Usage usage) {
            return ChatCompletionResponses.usageChunk(head, usage);
        }
    }
}
