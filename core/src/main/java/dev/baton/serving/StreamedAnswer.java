package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpStream;
import dev.baton.openai.ApiError;
import dev.baton.openai.ChatCompletionResponses;
import dev.baton.openai.Choice;
import dev.baton.openai.Continuation;
import dev.baton.openai.OutputOptions;
import dev.baton.openai.SseWriter;
import dev.baton.openai.StreamOptions;
import dev.baton.openai.TokenComments;
import dev.baton.openai.TokenLogprob;
import dev.baton.openai.ToolParts;
import dev.baton.openai.Usage;
import dev.baton.serving.tools.ToolCallStream;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// An answer that is sent piece by piece, as server-sent events. Its head goes out with the first piece, so that
/// what fails before gets a status of its own; or with the first keep-alive comment, where the operator has asked
/// for those.
final class StreamedAnswer implements Answer {
    private final HttpExchange exchange;
    private final Generation generation;
    private final OutputOptions output;
    private final List<Sequence> sequences;
    private final UsageCounter usage;
    private final ServingMetrics metrics;
    private final StreamOptions streamOptions;
    private final long silenceNanos;
    private final int[] shownCharacters;
    private final boolean[] begun;
    private final Optional<ToolUse> tools;
    private final List<ToolCallStream> toolCalls; // by sequence; empty if no calls are looked for
    private @Nullable HttpStream stream;
    private boolean rolesSent;
    /// Events that the client has from another engine.
    private int numSkipped;
    /// Tokens that no event has shown yet, for the router.
    private int[] untold = new int[4];

    private int numUntold;
    private long lastWriteNanos;

    StreamedAnswer(HttpExchange exchange, Generation generation, List<Sequence> sequences, ServingContext context) {
        this.exchange = exchange;
        this.generation = generation;
        this.output = generation.options().output();
        this.sequences = sequences;
        this.usage = context.usage();
        this.metrics = context.metrics();
        this.streamOptions = context.streaming().options(output.streamOptions());
        this.silenceNanos =
                context.streaming().keepAliveInterval().map(Duration::toNanos).orElse(Long.MAX_VALUE);
        this.lastWriteNanos = exchange.arrivalNanos();
        this.numSkipped = generation.continuity().numEvents();
        this.shownCharacters = new int[sequences.size()];
        this.begun = new boolean[sequences.size()];
        this.tools = generation.format() instanceof ResponseFormat.Chat chat ? chat.tools() : Optional.empty();
        this.toolCalls = tools.map(
                        use -> sequences.stream().map(each -> use.stream()).toList())
                .orElse(List.of());
    }

    @Override
    public void add(Sequence sequence, SequenceText.Delta delta) {
        boolean last = sequence.isClosed();
        if (delta.tokenIds().length == 0 && delta.text().isEmpty() && !last) {
            return;
        }
        note(delta.tokenIds());
        int index = sequence.index();
        Shown shown = shown(index, delta, last);
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
        tellTokens(out);
        boolean usageFollows = streamOptions.includeUsage();
        write(
                out,
                generation
                        .format()
                        .chunk(
                                generation.head(),
                                choice,
                                runningUsage(sequence, sequence.numTokens()),
                                last && !usageFollows));
    }

    private void note(int[] tokens) {
        if (generation.continuity().tellsTokens()) {
            if (numUntold + tokens.length > untold.length) {
                untold = Arrays.copyOf(untold, 2 * (numUntold + tokens.length));
            }
            System.arraycopy(tokens, 0, untold, numUntold, tokens.length);
            numUntold += tokens.length;
        }
    }

    /// Before the event that shows them.
    private void tellTokens(HttpStream out) {
        if (numUntold > 0 && numSkipped == 0) {
            out.write(TokenComments.tokens(untold, numUntold));
        }
        numUntold = 0;
    }

    private void write(HttpStream out, byte[] json) {
        lastWriteNanos = System.nanoTime();
        if (numSkipped > 0) {
            numSkipped--;
        } else {
            out.write(SseWriter.event(json));
        }
    }

    @Override
    public void keepAlive() {
        if (System.nanoTime() - lastWriteNanos >= silenceNanos) {
            lastWriteNanos = System.nanoTime();
            head().write(SseWriter.keepAlive());
        }
    }

    /// What is sent of a piece of text.
    private record Shown(String text, ToolParts tools) {
        private boolean isNothing() {
            return tools.parsed() && text.isEmpty() && tools.deltas().isEmpty();
        }
    }

    private Shown shown(int index, SequenceText.Delta delta, boolean last) {
        if (toolCalls.isEmpty()) {
            return new Shown(delta.echo() + delta.text(), ToolParts.NONE);
        }
        ToolCallStream.Delta found = toolCalls.get(index).accept(delta.text(), last);
        return new Shown(delta.echo() + found.content(), new ToolParts(true, List.of(), found.calls()));
    }

    private String finishReason(int index, String reason) {
        if (tools.isEmpty()) {
            return reason;
        }
        boolean called = toolCalls.get(index).numCalls() > 0;
        metrics.toolCallsParsed(true, called);
        return tools.get().finishReason(reason, called);
    }

    /// The stream, with its head and what comes before the first content.
    private HttpStream opened() {
        HttpStream out = head();
        if (!rolesSent) {
            rolesSent = true;
            writeRoles(out);
        }
        return out;
    }

    private HttpStream head() {
        HttpStream out = stream;
        if (out == null) {
            HttpHeaders headers = HttpHeaders.of("content-type", SseWriter.CONTENT_TYPE);
            out = exchange.startStream(
                    200, generation.continuity().tellsTokens() ? headers.with(Continuation.HEADER, "1") : headers);
            stream = out;
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
            write(
                    out,
                    ChatCompletionResponses.roleChunk(
                            generation.head(),
                            sequence.index(),
                            chat.role(),
                            runningUsage(sequence, 0),
                            prompt,
                            chat.promptText()));
        }
    }

    private Optional<Usage> runningUsage(Sequence sequence, int tokens) {
        boolean wanted = streamOptions.includeUsage() && streamOptions.continuousUsageStats();
        return wanted ? Optional.of(new Usage(sequence.prompt().length(), tokens)) : Optional.empty();
    }

    @Override
    public void complete() {
        HttpStream out = opened();
        if (generation.continuity().tellsTokens()) {
            out.write(usage.comment(sequences.getFirst()));
        }
        if (streamOptions.includeUsage()) {
            Usage total = usage.of(sequences, generation.format().tellsCreatedCacheTokens());
            write(out, generation.format().usageChunk(generation.head(), total));
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
