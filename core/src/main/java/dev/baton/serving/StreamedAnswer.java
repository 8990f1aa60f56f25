package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpStream;
import dev.baton.openai.ApiError;
import dev.baton.openai.ChatCompletionResponses;
import dev.baton.openai.Choice;
import dev.baton.openai.OutputOptions;
import dev.baton.openai.SseWriter;
import dev.baton.openai.TokenLogprob;
import dev.baton.openai.Usage;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/// An answer that is sent piece by piece, as server-sent events. Its head goes out with the first piece, so that
/// what fails before gets a status of its own.
final class StreamedAnswer implements Answer {
    private final HttpExchange exchange;
    private final Generation generation;
    private final OutputOptions output;
    private final List<Sequence> sequences;
    private final boolean promptTokensDetails;
    private final int[] shownCharacters;
    private final boolean[] begun;
    private @Nullable HttpStream stream;

    StreamedAnswer(
            HttpExchange exchange, Generation generation, List<Sequence> sequences, boolean promptTokensDetails) {
        this.exchange = exchange;
        this.generation = generation;
        this.output = generation.options().output();
        this.sequences = sequences;
        this.promptTokensDetails = promptTokensDetails;
        this.shownCharacters = new int[sequences.size()];
        this.begun = new boolean[sequences.size()];
    }

    @Override
    public void add(Sequence sequence, SequenceText.Delta delta) {
        boolean last = sequence.isClosed();
        if (delta.tokenIds().length == 0 && delta.text().isEmpty() && !last) {
            return;
        }
        HttpStream out = opened();
        int index = sequence.index();
        boolean promptHere = !begun[index]
                && (output.returnTokenIds() || output.echo())
                && generation.format() instanceof ResponseFormat.Completion;
        begun[index] = true;
        Choice choice = new Choice(
                index,
                delta.text(),
                output.logprobs().isPresent(),
                delta.logprobs(),
                shownCharacters[index],
                sequence.finishReason(),
                sequence.stopReason(),
                output.returnTokenIds() ? Optional.of(delta.tokenIds()) : Optional.empty(),
                promptHere ? Optional.of(sequence.prompt().ids()) : Optional.empty(),
                Optional.empty());
        for (TokenLogprob token : delta.logprobs()) {
            shownCharacters[index] +=
                    token.token().codePointCount(0, token.token().length());
        }
        boolean usageFollows = output.streamOptions().includeUsage();
        out.write(SseWriter.event(generation
                .format()
                .chunk(
                        generation.head(),
                        choice,
                        runningUsage(sequence, sequence.numTokens()),
                        last && !usageFollows)));
    }

    private HttpStream opened() {
        HttpStream out = stream;
        if (out == null) {
            out = exchange.startStream(200, HttpHeaders.of("content-type", SseWriter.CONTENT_TYPE));
            stream = out;
            writeRoles(out);
        }
        return out;
    }

    private void writeRoles(HttpStream out) {
        if (!(generation.format() instanceof ResponseFormat.Chat chat)) {
            return;
        }
        for (Sequence sequence : sequences) {
            Optional<int[]> prompt =
                    output.returnTokenIds() ? Optional.of(sequence.prompt().ids()) : Optional.empty();
            out.write(SseWriter.event(ChatCompletionResponses.roleChunk(
                    generation.head(),
                    sequence.index(),
                    chat.role(),
                    runningUsage(sequence, 0),
                    prompt,
                    chat.promptText())));
        }
    }

    private Optional<Usage> runningUsage(Sequence sequence, int tokens) {
        boolean wanted =
                output.streamOptions().includeUsage() && output.streamOptions().continuousUsageStats();
        return wanted
                ? Optional.of(new Usage(sequence.prompt().length(), tokens, OptionalInt.empty()))
                : Optional.empty();
    }

    @Override
    public void complete() {
        HttpStream out = opened();
        if (output.streamOptions().includeUsage()) {
            Usage usage = Answer.usage(sequences, promptTokensDetails);
            out.write(SseWriter.event(generation.format().usageChunk(generation.head(), usage)));
        }
        out.write(SseWriter.done());
        out.end();
    }

    @Override
    public void fail(ApiError error) {
        HttpStream out = stream;
        if (out == null) {
            ErrorAnswers.send(exchange, error);
            return;
        }
        out.write(SseWriter.error(error)); // no [DONE]: it would say that the output is complete
        out.end();
    }
}
