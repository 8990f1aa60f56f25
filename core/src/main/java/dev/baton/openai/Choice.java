package dev.baton.openai;

import java.util.List;
import java.util.Optional;

/// A choice of a response, or what one chunk adds to it.
///
/// @param logprobs one entry a token; empty list together with `wantsLogprobs` false if none were asked for
/// @param textOffset characters of this choice that came before `text`
/// @param finishReason set on the last chunk only
/// @param tokenIds the tokens behind `text`, if asked for
/// @param promptTokenIds the prompt, if asked for
/// @param promptLogprobs one entry for each token of the prompt, if asked for
/// @param tools calls of tools; [ToolParts#NONE] in a completion
public record Choice(
        int index,
        String text,
        boolean wantsLogprobs,
        List<TokenLogprob> logprobs,
        int textOffset,
        Optional<String> finishReason,
        StopReason stopReason,
        Optional<int[]> tokenIds,
        Optional<int[]> promptTokenIds,
        Optional<List<PromptLogprob>> promptLogprobs,
        ToolParts tools) {}
