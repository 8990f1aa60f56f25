package dev.baton.serving;

import dev.baton.engine.RequestOutput;
import dev.baton.http.HttpExchange;
import dev.baton.openai.ApiError;
import dev.baton.openai.Usage;
import java.util.List;
import java.util.OptionalInt;

/// Where the text of a request goes: [WholeAnswer] or [StreamedAnswer]. Event loop only.
sealed interface Answer permits WholeAnswer, StreamedAnswer {
    static Answer of(
            HttpExchange exchange, Generation generation, List<Sequence> sequences, boolean promptTokensDetails) {
        return generation.options().output().stream()
                ? new StreamedAnswer(exchange, generation, sequences, promptTokensDetails)
                : new WholeAnswer(exchange, generation, sequences, promptTokensDetails);
    }

    /// Takes what an output added to a sequence.
    void add(Sequence sequence, SequenceText.Delta delta);

    /// Ends the answer: all sequences have ended well.
    void complete();

    /// Ends the answer with an error.
    void fail(ApiError error);

    /// The token counts of all sequences so far.
    static Usage usage(List<Sequence> sequences, boolean promptTokensDetails) {
        int promptTokens = 0;
        int cached = 0;
        int generated = 0;
        for (Sequence sequence : sequences) {
            generated += sequence.numTokens();
            if (sequence.isFirstOfPrompt()) {
                promptTokens += sequence.prompt().length();
                cached += sequence.finish().map(Answer::reusedTokens).orElse(0);
            }
        }
        return new Usage(promptTokens, generated, promptTokensDetails ? OptionalInt.of(cached) : OptionalInt.empty());
    }

    private static int reusedTokens(RequestOutput.Finish finish) {
        return finish.cachedTokens() + finish.externalTokens();
    }
}
