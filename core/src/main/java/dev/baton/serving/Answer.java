package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.openai.ApiError;
import java.util.List;

/// Where the text of a request goes: [WholeAnswer] or [StreamedAnswer]. Event loop only.
sealed interface Answer permits WholeAnswer, StreamedAnswer {
    static Answer of(HttpExchange exchange, Generation generation, List<Sequence> sequences, ServingContext context) {
        return generation.options().output().stream()
                ? new StreamedAnswer(exchange, generation, sequences, context)
                : new WholeAnswer(exchange, generation, sequences, context);
    }

    /// Takes what an output added to a sequence.
    void add(Sequence sequence, SequenceText.Delta delta);

    /// Ends the answer: all sequences have ended well.
    void complete();

    /// Ends the answer with an error.
    void fail(ApiError error);

    /// Sends a sign of life on a stream that has been silent for too long.
    default void keepAlive() {}
}
