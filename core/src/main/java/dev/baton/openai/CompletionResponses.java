package dev.baton.openai;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JsonGenerator;

/// The JSON of answers to `POST /v1/completions`.
public final class CompletionResponses {
    private static final String OBJECT = "text_completion";

    private CompletionResponses() {}

    /// A whole answer.
    ///
    /// @param kvTransferParams what a decoder needs, as JSON; from a prefiller that holds the blocks
    public static byte[] full(
            ResponseHead head, List<Choice> choices, Usage usage, Map<String, Object> kvTransferParams) {
        return head.full(
                OBJECT,
                choices,
                (json, choice) -> {
                    text(json, choice);
                    JsonOut.intsOrNull(json, "token_ids", choice.tokenIds());
                    PromptLogprob.write(json, choice.promptLogprobs());
                    JsonOut.intsOrNull(json, "prompt_token_ids", choice.promptTokenIds());
                },
                usage,
                json -> {},
                kvTransferParams);
    }

    /// One chunk of a stream.
    ///
    /// @param usage the usage so far, if every chunk carries it
    /// @param withFingerprint on the last chunk of a choice, unless a usage chunk follows
    public static byte[] chunk(ResponseHead head, Choice choice, Optional<Usage> usage, boolean withFingerprint) {
        return head.chunk(
                OBJECT,
                choice.index(),
                json -> {
                    text(json, choice);
                    JsonOut.intsOrNull(json, "prompt_token_ids", choice.promptTokenIds());
                    JsonOut.intsOrNull(json, "token_ids", choice.tokenIds());
                },
                usage,
                withFingerprint);
    }

    private static void text(JsonGenerator json, Choice choice) {
        json.writeStringProperty("text", choice.text());
        logprobs(json, choice);
        JsonOut.stringOrNull(json, "finish_reason", choice.finishReason());
        StopReason.write(json, choice.stopReason());
    }

    /// The chunk that carries the usage at the end of a stream.
    public static byte[] usageChunk(ResponseHead head, Usage usage) {
        return head.usageChunk(OBJECT, usage);
    }

    private static void logprobs(JsonGenerator json, Choice choice) {
        if (!choice.wantsLogprobs()) {
            json.writeNullProperty("logprobs");
            return;
        }
        List<TokenLogprob> tokens = choice.logprobs();
        json.writeObjectPropertyStart("logprobs");
        json.writeArrayPropertyStart("text_offset");
        int offset = choice.textOffset();
        for (TokenLogprob token : tokens) {
            json.writeNumber(offset);
            offset += token.token().codePointCount(0, token.token().length());
        }
        json.writeEndArray();
        json.writeArrayPropertyStart("token_logprobs");
        for (TokenLogprob token : tokens) {
            if (token.isKnown()) {
                json.writeNumber(token.logprob());
            } else {
                json.writeNull();
            }
        }
        json.writeEndArray();
        json.writeArrayPropertyStart("tokens");
        for (TokenLogprob token : tokens) {
            json.writeString(token.token());
        }
        json.writeEndArray();
        json.writeArrayPropertyStart("top_logprobs");
        for (TokenLogprob token : tokens) {
            topLogprobs(json, token);
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    /// Keyed by text: of tokens with equal text the likeliest stays; the chosen one is always there.
    private static void topLogprobs(JsonGenerator json, TokenLogprob token) {
        if (!token.isKnown()) {
            json.writeNull();
            return;
        }
        java.util.Map<String, Float> byText = new java.util.LinkedHashMap<>();
        byText.put(token.token(), token.logprob());
        for (TokenLogprob.Candidate candidate : token.top()) {
            byText.putIfAbsent(candidate.token(), candidate.logprob());
        }
        json.writeStartObject();
        byText.forEach(json::writeNumberProperty);
        json.writeEndObject();
    }
}
