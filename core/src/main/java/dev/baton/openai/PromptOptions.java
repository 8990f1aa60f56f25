package dev.baton.openai;

import java.util.Optional;
import java.util.OptionalInt;

/// How a request wants its prompt tokenised.
///
/// @param truncatePromptTokens keep only that many tokens of the prompt; -1: as many as the context holds
/// @param keepFirst whether these are the first tokens (`truncation_side` right), not the last
public record PromptOptions(boolean addSpecialTokens, OptionalInt truncatePromptTokens, boolean keepFirst) {

    static PromptOptions read(Fields fields, boolean addSpecialTokensDefault) {
        Optional<String> side = fields.string("truncation_side");
        if (side.isPresent() && !side.get().equals("left") && !side.get().equals("right")) {
            fields.wrong(
                    "literal_error",
                    "truncation_side",
                    "Input should be 'left' or 'right'",
                    fields.node("truncation_side").orElseThrow());
        }
        return new PromptOptions(
                fields.flag("add_special_tokens", addSpecialTokensDefault),
                fields.integer("truncate_prompt_tokens"),
                side.filter("right"::equals).isPresent());
    }

    void checkRanges() {
        truncatePromptTokens.ifPresent(value -> {
            if (value < -1) {
                throw Ranges.bad("truncate_prompt_tokens must be an integer >= -1, got " + value + ".");
            }
        });
    }
}
