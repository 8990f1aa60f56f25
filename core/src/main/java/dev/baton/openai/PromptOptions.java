package dev.baton.openai;

import java.util.OptionalInt;

/// How a request wants its prompt tokenised.
///
/// @param truncatePromptTokens keep only that many tokens of the prompt; -1: as many as the context holds
public record PromptOptions(boolean addSpecialTokens, OptionalInt truncatePromptTokens) {

    static PromptOptions read(Fields fields, boolean addSpecialTokensDefault) {
        return new PromptOptions(
                fields.flag("add_special_tokens", addSpecialTokensDefault), fields.integer("truncate_prompt_tokens"));
    }

    void checkRanges() {
        truncatePromptTokens.ifPresent(value -> {
            if (value < -1) {
                throw Ranges.bad("truncate_prompt_tokens must be an integer >= -1, got " + value + ".");
            }
        });
    }
}
