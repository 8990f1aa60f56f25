package dev.baton.serving;

import dev.baton.engine.FinishReason;
import dev.baton.engine.RequestOutput;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.TokenLogprob;
import dev.baton.tokenizer.IncrementalDetokenizer;
import dev.baton.tokenizer.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Turns the tokens of one sequence into text: detokenises step by step, looks for stop texts, leaves out the token
/// that ended the generation. One thread.
final class SequenceText {
    private final Tokenizer tokenizer;
    private final GenerationOptions options;
    private final IncrementalDetokenizer detokenizer;
    private final StopMatcher stops;
    private int numTokens;
    private boolean ended;

    SequenceText(Tokenizer tokenizer, GenerationOptions options) {
        this.tokenizer = tokenizer;
        this.options = options;
        this.detokenizer = tokenizer.detokenizer(options.output().skipSpecialTokens());
        this.stops = new StopMatcher(options.stop().texts(), options.stop().includeStopStrInOutput());
    }

    /// What one output of the engine adds.
    ///
    /// @param stop the stop text that was found; the generation is to be ended then
    record Delta(String text, int[] tokenIds, List<TokenLogprob> logprobs, Optional<String> stop) {}

    int numTokens() {
        return numTokens;
    }

    /// Takes an output; nothing after a stop text or a finish counts any more.
    Delta accept(RequestOutput output) {
        if (ended) {
            return new Delta("", new int[0], List.of(), Optional.empty());
        }
        int[] ids = output.tokenIds();
        boolean stoppedByToken = output.finish()
                .filter(finish -> finish.reason() == FinishReason.STOP)
                .isPresent();
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
        if (stop.isEmpty() && output.finish().isPresent()) {
            StopMatcher.Match last = stops.append(detokenizer.finish(), true);
            text.append(last.text());
            stop = last.stop();
            if (stop.isEmpty()) {
                text.append(stops.flush());
            }
        }
        ended = stop.isPresent() || output.finish().isPresent();
        int[] shown = used == ids.length ? ids : java.util.Arrays.copyOf(ids, used);
        return new Delta(text.toString(), shown, logprobs(output, used), stop);
    }

    private List<TokenLogprob> logprobs(RequestOutput output, int count) {
        if (options.output().logprobs().isEmpty()) {
            return List.of();
        }
        int most = options.output().logprobs().getAsInt();
        List<TokenLogprob> result = new ArrayList<>(count);
        for (int i = 0; i < Math.min(count, output.logprobs().size()); i++) {
            RequestOutput.TokenLogprobs token = output.logprobs().get(i);
            int id = output.tokenIds()[i];
            List<TokenLogprob.Candidate> top = new ArrayList<>(most);
            for (int k = 0; k < Math.min(most, token.topTokenIds().length); k++) {
                int candidate = token.topTokenIds()[k];
                String shown = shown(candidate);
                top.add(new TokenLogprob.Candidate(shown, bytes(candidate, shown), token.topLogprobs()[k]));
            }
            String shown = shown(id);
            result.add(new TokenLogprob(shown, bytes(id, shown), token.logprob(), top));
        }
        return result;
    }

    private String shown(int id) {
        return options.output().returnTokensAsTokenIds() ? "token_id:" + id : tokenizer.tokenText(id);
    }

    private byte[] bytes(int id, String shown) {
        return options.output().returnTokensAsTokenIds()
                ? shown.getBytes(StandardCharsets.UTF_8)
                : tokenizer.tokenBytes(id);
    }
}
