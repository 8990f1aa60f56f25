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
import dev.baton.openai.ToolParts;
import dev.baton.openai.Usage;
import dev.baton.serving.tools.ToolCallStream;
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
    private final List<ToolCallStream> toolCalls; // by sequence; empty if no calls are looked for
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
        this.toolCalls = generation
                .format()
                .tools()
                .map(tools -> sequences.stream().map(each -> tools.stream()).toList())
                .orElse(List.of());
    }

    @Override
    public void add(Sequence sequence, SequenceText.Delta delta) {
        boolean last = sequence.isClosed();
        if (delta.tokenIds().length == 0 && delta.text().isEmpty() && !last) {
            return;
        }
        int index = sequence.index();
        Shown shown = shown(index, delta.text(), last);
        if (shown.isNothing() && !last && output.logprobs().isEmpty() && !output.returnTokenIds()) {
            return; // held back until it is known to be text or a call
        }
        HttpStream out = opened();
        boolean promptHere = !begun[index]
                && (output.returnTokenIds() || output.echo())
                && generation.format() instanceof ResponseFormat.Completion;
        begun[index] = true;
        Choice choice = new Choice(
                index,
                shown.text(),
                output.logprobs().isPresent(),
                delta.logprobs(),
                shownCharacters[index],
                sequence.finishReason().map(reason -> finishReason(index, reason)),
                sequence.stopReason(),
                output.returnTokenIds() ? Optional.of(delta.tokenIds()) : Optional.empty(),
                promptHere ? Optional.of(sequence.prompt().ids()) : Optional.empty(),
                Optional.empty(),
                shown.tools());
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

    /// What is sent of a piece of text.
    private record Shown(String text, ToolParts tools) {
        private boolean isNothing() {
            return tools.parsed() && text.isEmpty() && tools.deltas().isEmpty();
        }
    }

    private Shown shown(int index, String text, boolean last) {
        if (toolCalls.isEmpty()) {
            return new Shown(text, ToolParts.NONE);
        }
        ToolCallStream.Delta found = toolCalls.get(index).accept(text, last);
        return new Shown(found.content(), new ToolParts(true, List.of(), found.calls()));
    }

    private String finishReason(int index, String reason) {
        return generation
                .format()
                .tools()
                .map(tools -> tools.finishReason(reason, toolCalls.get(index).numCalls() > 0))
                .orElse(reason);
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
