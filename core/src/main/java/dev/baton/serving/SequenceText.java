package dev.baton.serving;

import dev.baton.engine.RequestOutput;
import dev.baton.engine.RequestOutput.Finish;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.OutputOptions;
import dev.baton.openai.PromptLogprob;
import dev.baton.openai.TokenLogprob;
import dev.baton.tokenizer.IncrementalDetokenizer;
import dev.baton.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// Turns the tokens of one sequence into text: repeats the prompt if asked for, detokenises step by step, looks for
/// stop texts, leaves out the token that ended the generation. One thread.
final class SequenceText {
    private final EncodedPrompt prompt;
    private final GenerationOptions options;
    private final OutputOptions output;
    private final TokenTexts texts;
    private final IncrementalDetokenizer detokenizer;
    private final StopMatcher stops;
    private final boolean promptOnly;
    private Optional<List<PromptLogprob>> promptLogprobs = Optional.empty();
    private int numTokens;
    private boolean begun;
    private boolean ended;

    SequenceText(Tokenizer tokenizer, EncodedPrompt prompt, GenerationOptions options) {
        this.prompt = prompt;
        this.options = options;
        this.output = options.output();
        this.texts = new TokenTexts(tokenizer, output.returnTokensAsTokenIds());
        this.detokenizer = tokenizer.detokenizer(output.skipSpecialTokens());
        this.stops = new StopMatcher(options.stop().texts(), options.stop().includeStopStrInOutput());
        this.promptOnly = output.echo() && options.maxTokens().orElse(1) == 0;
    }

    /// What one output of the engine adds.
    ///
    /// @param echo what is repeated before the text: no output of the model's, so nothing to look for calls in
    /// @param stop the stop text that was found; the generation is to be ended then
    record Delta(String echo, String text, int[] tokenIds, List<TokenLogprob> logprobs, Optional<String> stop) {
        private static final Delta NOTHING = new Delta("", "", new int[0], List.of(), Optional.empty());
    }

    /// Tokens generated so far.
    int numTokens() {
        return numTokens;
    }

    /// What the engine said about the prompt, if it was asked for and has come.
    Optional<List<PromptLogprob>> promptLogprobs() {
        return promptLogprobs;
    }

    /// Takes an output; nothing after a stop text or a finish counts any more.
    Delta accept(RequestOutput step) {
        if (ended) {
            return Delta.NOTHING;
        }
        Delta generated = generated(step);
        if (begun || step.tokenIds().length == 0) {
            return generated;
        }
        begun = true;
        return withPrompt(step, generated);
    }

    private Delta generated(RequestOutput step) {
        int[] ids = step.tokenIds();
        boolean stoppedByToken = step.finish().filter(Finish::lastTokenIsEnd).isPresent();
        StringBuilder text = new StringBuilder();
        Optional<String> stop = Optional.empty();
        int used = 0;
        while (used < ids.length && stop.isEmpty()) {
            boolean hidden =
                    stoppedByToken && used == ids.length - 1 && !options.stop().includeStopStrInOutput();
            String more = hidden ? "" : detokenizer.append(ids[used]);
            used++;
            numTokens++;
            StopMatcher.Match match =
                    stops.append(more, numTokens > options.stop().minTokens());
            text.append(match.text());
            stop = match.stop();
        }
        if (stop.isEmpty() && step.finish().isPresent()) {
            StopMatcher.Match last = stops.append(detokenizer.finish(), true);
            text.append(last.text());
            stop = last.stop();
            if (stop.isEmpty()) {
                text.append(stops.flush());
            }
        }
        ended = stop.isPresent() || step.finish().isPresent();
        int[] shown = used == ids.length ? ids : Arrays.copyOf(ids, used);
        return new Delta("", text.toString(), shown, logprobs(step, used), stop);
    }

    private List<TokenLogprob> logprobs(RequestOutput step, int count) {
        if (output.logprobs().isEmpty()) {
            return List.of();
        }
        List<TokenLogprob> result = new ArrayList<>(count);
        for (int i = 0; i < Math.min(count, step.logprobs().size()); i++) {
            result.add(texts.logprob(
                    step.tokenIds()[i],
                    step.logprobs().get(i),
                    output.logprobs().getAsInt()));
        }
        return result;
    }

    /// Puts what is said about the prompt before the first generated token.
    private Delta withPrompt(RequestOutput step, Delta generated) {
        List<RequestOutput.TokenLogprobs> given = step.promptLogprobs();
        boolean wanted = output.promptLogprobs().isPresent() && given.size() == prompt.length() - 1;
        if (wanted) {
            int most = output.promptLogprobs().getAsInt();
            promptLogprobs = Optional.of(texts.promptLogprobs(prompt.ids(), given, most));
        }
        if (!output.echo()) {
            return generated;
        }
        List<TokenLogprob> logprobs = new ArrayList<>();
        if (output.logprobs().isPresent() && wanted && prompt.echoLogprobs()) {
            logprobs.addAll(
                    texts.logprobs(prompt.ids(), given, output.logprobs().getAsInt()));
        }
        if (promptOnly) {
            return new Delta(prompt.echo(), "", generated.tokenIds(), logprobs, generated.stop());
        }
        logprobs.addAll(generated.logprobs());
        return new Delta(prompt.echo(), generated.text(), generated.tokenIds(), logprobs, generated.stop());
    }
}
