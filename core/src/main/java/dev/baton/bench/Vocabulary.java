package dev.baton.bench;

import dev.baton.tokenizer.Tokenizer;
import java.util.function.Function;
import java.util.stream.IntStream;

/// What prompts of random tokens are made from.
///
/// @param tokenIds ordinary tokens, ascending; special ones are not among them
/// @param specialTokenIds what the server puts before every prompt that is sent as text, for example
///     beginning-of-sequence
/// @param encode text to tokens, without special ones
record Vocabulary(
        int[] tokenIds, int[] specialTokenIds, Function<int[], String> decode, Function<String, int[]> encode) {
    static Vocabulary of(Tokenizer tokenizer) {
        int[] ordinary = IntStream.range(0, tokenizer.vocabularySize())
                .filter(id -> !tokenizer.isSpecial(id))
                .toArray();
        return new Vocabulary(
                ordinary,
                tokenizer.encode("", true),
                ids -> tokenizer.decode(ids, false),
                text -> tokenizer.encode(text, false));
    }
}
