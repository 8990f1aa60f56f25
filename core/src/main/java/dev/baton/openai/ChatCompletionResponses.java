package dev.baton.openai;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JsonGenerator;

/// The JSON of answers to `POST /v1/chat/completions`.
public final class ChatCompletionResponses {
    private static final String OBJECT = "chat.completion";
    private static final String CHUNK = "chat.completion.chunk";

    private ChatCompletionResponses() {}

    /// A whole answer.
    ///
    /// @param role the role of the message, usually `assistant`
    /// @param promptText what the chat template made of the messages, if asked for
    /// @param choices at least one
    public static byte[] full(
            ResponseHead head,
            String role,
            Optional<String> promptText,
            List<Choice> choices,
            Usage usage,
            Map<String, Object> kvTransferParams) {
        return head.full(
                OBJECT,
                choices,
                (json, choice) -> {
                    json.writeObjectPropertyStart("message");
                    json.writeStringProperty("role", role);
                    content(json, choice);
                    for (String absent : List.of("refusal", "annotations", "audio", "function_call")) {
                        json.writeNullProperty(absent);
                    }
                    toolCalls(json, choice.tools().calls());
                    json.writeNullProperty("reasoning");
                    json.writeEndObject();
                    logprobs(json, choice);
                    JsonOut.stringOrNull(json, "finish_reason", choice.finishReason());
                    StopReason.write(json, choice.stopReason());
                    JsonOut.intsOrNull(json, "token_ids", choice.tokenIds());
                },
                usage,
                json -> {
                    PromptLogprob.write(json, choices.getFirst().promptLogprobs());
                    promptFields(json, choices.getFirst().promptTokenIds(), promptText);
                },
                kvTransferParams);
    }

    /// A message that is nothing but calls has no content.
    private static void content(JsonGenerator json, Choice choice) {
        ToolParts tools = choice.tools();
        if (choice.text().isEmpty()
                && !(tools.calls().isEmpty() && tools.deltas().isEmpty())) {
            json.writeNullProperty("content");
        } else {
            json.writeStringProperty("content", choice.text());
        }
    }

    private static void toolCalls(JsonGenerator json, List<ToolCall> calls) {
        if (calls.isEmpty()) {
            return;
        }
        json.writeArrayPropertyStart("tool_calls");
        for (ToolCall call : calls) {
            json.writeStartObject();
            json.writeStringProperty("id", call.id());
            json.writeStringProperty("type", "function");
            json.writeObjectPropertyStart("function");
            json.writeStringProperty("name", call.name());
            json.writeStringProperty("arguments", call.arguments());
            json.writeEndObject();
            json.writeEndObject();
        }
        json.writeEndArray();
    }

    private static void toolCallDeltas(JsonGenerator json, List<ToolCallDelta> deltas) {
        if (deltas.isEmpty()) {
            return;
        }
        json.writeArrayPropertyStart("tool_calls");
        for (ToolCallDelta delta : deltas) {
            json.writeStartObject();
            if (delta.id().isPresent()) {
                json.writeStringProperty("id", delta.id().get());
                json.writeStringProperty("type", "function");
            }
            json.writeNumberProperty("index", delta.index());
            json.writeObjectPropertyStart("function");
            if (delta.name().isPresent()) {
                json.writeStringProperty("name", delta.name().get());
            }
            if (!delta.arguments().isEmpty()) {
                json.writeStringProperty("arguments", delta.arguments());
            }
            json.writeEndObject();
            json.writeEndObject();
        }
        json.writeEndArray();
    }

    private static void promptFields(JsonGenerator json, Optional<int[]> promptTokenIds, Optional<String> promptText) {
        JsonOut.intsOrNull(json, "prompt_token_ids", promptTokenIds);
        JsonOut.stringOrNull(json, "prompt_text", promptText);
    }

    /// The first chunk of a choice: the role, and no content yet.
    public static byte[] roleChunk(
            ResponseHead head,
            int index,
            String role,
            Optional<Usage> usage,
            Optional<int[]> promptTokenIds,
            Optional<String> promptText) {
        return head.chunk(
                CHUNK,
                index,
                json -> {
                    json.writeObjectPropertyStart("delta");
                    json.writeStringProperty("role", role);
                    json.writeStringProperty("content", "");
                    json.writeEndObject();
                    json.writeNullProperty("logprobs");
                    json.writeNullProperty("finish_reason");
                },
                usage,
                json -> promptFields(json, promptTokenIds, promptText));
    }

    /// One chunk of a stream.
    ///
    /// @param usage the usage so far, if every chunk carries it
    /// @param withFingerprint on the last chunk of a choice, unless a usage chunk follows
    public static byte[] chunk(ResponseHead head, Choice choice, Optional<Usage> usage, boolean withFingerprint) {
        return head.chunk(
                CHUNK,
                choice.index(),
                json -> {
                    json.writeObjectPropertyStart("delta");
                    ToolParts tools = choice.tools();
                    if (!tools.parsed()
                            || !choice.text().isEmpty()
                            || !tools.deltas().isEmpty()) {
                        content(json, choice);
                    }
                    toolCallDeltas(json, tools.deltas());
                    json.writeEndObject();
                    logprobs(json, choice);
                    JsonOut.stringOrNull(json, "finish_reason", choice.finishReason());
                    if (choice.finishReason().isPresent()) {
                        StopReason.write(json, choice.stopReason());
                    }
                    JsonOut.intsOrNull(json, "token_ids", choice.tokenIds());
                },
                usage,
                withFingerprint);
    }

    /// The chunk that carries the usage at the end of a stream.
    public static byte[] usageChunk(ResponseHead head, Usage usage) {
        return head.usageChunk(CHUNK, usage);
    }

    private static void logprobs(JsonGenerator json, Choice choice) {
        if (!choice.wantsLogprobs()) {
            json.writeNullProperty("logprobs");
            return;
        }
        json.writeObjectPropertyStart("logprobs");
        json.writeArrayPropertyStart("content");
        for (TokenLogprob token : choice.logprobs()) {
            json.writeStartObject();
            tokenFields(json, token.token(), token.logprob(), token.bytes());
            json.writeArrayPropertyStart("top_logprobs");
            for (TokenLogprob.Candidate candidate : token.top()) {
                json.writeStartObject();
                tokenFields(json, candidate.token(), candidate.logprob(), candidate.bytes());
                json.writeEndObject();
            }
            json.writeEndArray();
            json.writeEndObject();
        }
        json.writeEndArray();
        json.writeEndObject();
    }

    private static void tokenFields(JsonGenerator json, String token, float logprob, byte[] bytes) {
        json.writeStringProperty("token", token);
        json.writeNumberProperty("logprob", logprob);
        json.writeArrayPropertyStart("bytes");
        for (byte b : bytes) {
            json.writeNumber(b & 0xff);
        }
        json.writeEndArray();
    }
}
