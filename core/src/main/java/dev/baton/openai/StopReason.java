package dev.baton.openai;

import tools.jackson.core.JsonGenerator;

/// What ended a choice whose `finish_reason` is `stop`: vLLM's `stop_reason`.
public sealed interface StopReason {
    /// End of sequence, or no stop at all.
    record None() implements StopReason {}

    /// A text of `stop`.
    record StopText(String text) implements StopReason {}

    /// A token of `stop_token_ids`.
    record StopToken(int id) implements StopReason {}

    /// Writes the field.
    static void write(JsonGenerator json, StopReason reason) {
        switch (reason) {
            case None() -> json.writeNullProperty("stop_reason");
            case StopText(String text) -> json.writeStringProperty("stop_reason", text);
            case StopToken(int id) -> json.writeNumberProperty("stop_reason", id);
        }
    }
}
