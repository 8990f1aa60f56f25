package dev.baton.serving;

import dev.baton.openai.GenerationOptions;
import dev.baton.openai.ResponseHead;
import java.util.List;

/// One request that generates, checked and tokenised.
///
/// @param requestId the client's id, or one made for it
/// @param format how it is answered
/// @param priority lower comes first, where the engine schedules by priority
/// @param head what every part of the answer repeats
/// @param prompts at least one; each gets `options.n()` choices
/// @param continuity how it may be continued elsewhere, or goes on here
record Generation(
        String requestId,
        GenerationOptions options,
        ResponseFormat format,
        int priority,
        ResponseHead head,
        List<EncodedPrompt> prompts,
        Continuity continuity) {}
