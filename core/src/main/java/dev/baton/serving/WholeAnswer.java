package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.openai.ApiError;
import dev.baton.openai.Choice;
import dev.baton.openai.OutputOptions;
import dev.baton.openai.TokenLogprob;
import dev.baton.openai.ToolParts;
import dev.baton.serving.tools.ToolOutput;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// An answer that is sent as one body when everything is there.
final class WholeAnswer implements Answer {
    private final HttpExchange exchange;
    private final Generation generation;
    private final List<Sequence> sequences;
    private final UsageCounter usage;
    private final ServingMetrics metrics;
    private final List<Collected> collected;

    /// What one sequence has come to.
    private static final class Collected {
        private final StringBuilder echo = new StringBuilder();
        private final StringBuilder text = new StringBuilder();
        private final List<int[]> tokenIds = new ArrayList<>();
        private final List<TokenLogprob> logprobs = new ArrayList<>();
    }

    WholeAnswer(HttpExchange exchange, Generation generation, List<Sequence> sequences, ServingContext context) {
        this.exchange = exchange;
        this.generation = generation;
        this.sequences = sequences;
        this.usage = context.usage();
        this.metrics = context.metrics();
        this.collected = sequences.stream().map(sequence -> new Collected()).toList();
    }

    @Override
    public void add(Sequence sequence, SequenceText.Delta delta) {
        Collected all = collected.get(sequence.index());
        all.echo.append(delta.echo());
        all.text.append(delta.text());
        all.logprobs.addAll(delta.logprobs());
        if (generation.options().output().returnTokenIds()) {
            all.tokenIds.add(delta.tokenIds());
        }
    }

    @Override
    public void complete() {
        exchange.respondJson(
                200,
                generation
                        .format()
                        .full(
                                generation.head(),
                                sequences.stream().map(this::choice).toList(),
                                usage.of(sequences, generation.format().tellsCreatedCacheTokens()),
                                handOff()));
    }

    private Choice choice(Sequence sequence) {
        OutputOptions output = generation.options().output();
        Collected all = collected.get(sequence.index());
        String text = all.text.toString();
        Optional<ToolOutput> parsed = generation.format().tools().map(tools -> tools.parse(text));
        return new Choice(
                sequence.index(),
                all.echo + parsed.map(ToolOutput::content).orElse(text),
                output.logprobs().isPresent(),
                all.logprobs,
                0,
                parsed.map(found -> finishReason(sequence, found)).orElse(sequence.finishReason()),
                sequence.stopReason(),
                output.returnTokenIds() ? Optional.of(joined(all.tokenIds)) : Optional.empty(),
                output.returnTokenIds() ? Optional.of(sequence.prompt().ids()) : Optional.empty(),
                sequence.promptLogprobs(),
                parsed.map(found -> new ToolParts(true, found.calls(), List.of()))
                        .orElse(ToolParts.NONE));
    }

    private Optional<String> finishReason(Sequence sequence, ToolOutput found) {
        boolean called = !found.calls().isEmpty();
        metrics.toolCallsParsed(false, called);
        return sequence.finishReason()
                .map(reason -> generation.format().tools().orElseThrow().finishReason(reason, called));
    }

    private static int[] joined(List<int[]> parts) {
        return parts.stream().flatMapToInt(Arrays::stream).toArray();
    }

    /// What the connector tells whoever handles the hand-off.
    private Map<String, Object> handOff() {
        return sequences
                .getFirst()
                .finish()
                .map(finish -> finish.kvTransferParams().fields())
                .orElse(Map.of());
    }

    @Override
    public void fail(ApiError error) {
        ErrorAnswers.send(exchange, error);
    }
}
