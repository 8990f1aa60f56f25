package dev.baton.serving;

import dev.baton.engine.EngineConfig;
import dev.baton.openai.TokenComments;
import dev.baton.openai.Usage;
import java.util.List;
import java.util.OptionalInt;

/// Adds up the token counts of an answer. Thread-safe.
///
/// @param details whether prompt tokens are told apart by where their KV came from
///     (`--enable-prompt-tokens-details`)
/// @param cacheBlockTokens tokens a block of the prefix cache, 0 if there is none
record UsageCounter(boolean details, int cacheBlockTokens) {
    static UsageCounter of(boolean details, EngineConfig engine) {
        return new UsageCounter(details, engine.enablePrefixCaching() ? engine.blockTokens() : 0);
    }

    /// The counts of all sequences so far.
    ///
    /// @param withCreated whether tokens that are new in the cache are told; vLLM tells them for chats only
    Usage of(List<Sequence> sequences, boolean withCreated) {
        int promptTokens = 0;
        int cached = 0;
        int created = 0;
        int generated = 0;
        for (Sequence sequence : sequences) {
            generated += sequence.numTokens();
            if (sequence.isFirstOfPrompt()) {
                int prompt = sequence.prompt().length();
                int reused = reused(sequence);
                promptTokens += prompt;
                cached += reused;
                created += Math.max(0, cacheable(prompt) - reused);
            }
        }
        if (!details) {
            return new Usage(promptTokens, generated);
        }
        OptionalInt told = withCreated ? OptionalInt.of(created) : OptionalInt.empty();
        return new Usage(promptTokens, generated, OptionalInt.of(cached), told);
    }

    /// Whole blocks only are ever found again.
    private int cacheable(int promptTokens) {
        return cacheBlockTokens == 0 ? 0 : promptTokens / cacheBlockTokens * cacheBlockTokens;
    }

    /// With output that another engine made, more than the prompt may have been found.
    private static int reused(Sequence sequence) {
        int found = sequence.finish()
                .map(finish -> finish.cachedTokens() + finish.externalTokens())
                .orElse(0);
        return Math.min(found, sequence.prompt().length());
    }

    /// The counts of a whole answer for the router.
    byte[] comment(Sequence sequence) {
        return TokenComments.usage(sequence.prompt().length(), reused(sequence), sequence.numTokens());
    }
}
