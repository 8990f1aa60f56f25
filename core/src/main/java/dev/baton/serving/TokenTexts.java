package dev.baton.serving;

import dev.baton.engine.RequestOutput;
import dev.baton.openai.PromptLogprob;
import dev.baton.openai.TokenLogprob;
import dev.baton.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/// Shows the engine's log-probabilities as the API does, with the text of each token. Thread-safe.
///
/// @param asTokenIds whether a token is shown as `token_id:17` instead of its text (`return_tokens_as_token_ids`)
record TokenTexts(Tokenizer tokenizer, boolean asTokenIds) {

    /// One token with the `most` likeliest beside it.
    TokenLogprob logprob(int id, RequestOutput.TokenLogprobs given, int most) {
        int count = Math.min(most, given.topTokenIds().length);
        List<TokenLogprob.Candidate> top = new ArrayList<>(count);
        for (int k = 0; k < count; k++) {
            int candidate = given.topTokenIds()[k];
            String text = text(candidate);
            top.add(new TokenLogprob.Candidate(text, bytes(candidate, text), given.topLogprobs()[k]));
        }
        String text = text(id);
        return new TokenLogprob(text, bytes(id, text), given.logprob(), top);
    }

    /// The tokens of a prompt, in the form of generated ones.
    ///
    /// @param given one entry for each token from the second on
    List<TokenLogprob> logprobs(int[] prompt, List<RequestOutput.TokenLogprobs> given, int most) {
        List<TokenLogprob> result = new ArrayList<>(prompt.length);
        String first = text(prompt[0]);
        result.add(TokenLogprob.first(first, bytes(prompt[0], first)));
        for (int i = 1; i < prompt.length; i++) {
            result.add(logprob(prompt[i], given.get(i - 1), most));
        }
        return result;
    }

    /// The tokens of a prompt, in the form of `prompt_logprobs`.
    ///
    /// @param given one entry for each token from the second on
    List<PromptLogprob> promptLogprobs(int[] prompt, List<RequestOutput.TokenLogprobs> given, int most) {
        List<PromptLogprob> result = new ArrayList<>(prompt.length);
        result.add(new PromptLogprob(List.of()));
        for (int i = 1; i < prompt.length; i++) {
            result.add(promptLogprob(prompt[i], given.get(i - 1), most));
        }
        return result;
    }

    private PromptLogprob promptLogprob(int id, RequestOutput.TokenLogprobs given, int most) {
        List<PromptLogprob.Candidate> candidates = new ArrayList<>(most + 1);
        candidates.add(new PromptLogprob.Candidate(id, given.logprob(), given.rank(), tokenizer.tokenText(id)));
        for (int k = 0; k < Math.min(most, given.topTokenIds().length); k++) {
            int candidate = given.topTokenIds()[k];
            if (candidate != id) {
                candidates.add(new PromptLogprob.Candidate(
                        candidate, given.topLogprobs()[k], k + 1, tokenizer.tokenText(candidate)));
            }
        }
        return new PromptLogprob(candidates);
    }

    private String text(int id) {
        return asTokenIds ? "token_id:" + id : tokenizer.tokenText(id);
    }

    private byte[] bytes(int id, String text) {
        return asTokenIds ? text.getBytes(StandardCharsets.UTF_8) : tokenizer.tokenBytes(id);
    }
}
