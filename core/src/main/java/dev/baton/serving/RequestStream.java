package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineException;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.FinishReason;
import dev.baton.engine.RequestOutput;
import dev.baton.engine.SamplingParams;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpStream;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.openai.ChatCompletionResponses;
import dev.baton.openai.Choice;
import dev.baton.openai.GenerationOptions;
import dev.baton.openai.KvTransferJson;
import dev.baton.openai.ResponseHead;
import dev.baton.openai.SseWriter;
import dev.baton.openai.StopReason;
import dev.baton.openai.TokenLogprob;
import dev.baton.openai.Usage;
import dev.baton.tokenizer.Tokenizer;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One HTTP request that generates: its sequences in the engine, and its answer, whole or streamed.
///
/// [#submit] runs on the thread that tokenised the prompts; everything after that on the exchange's event loop,
/// where the engine's outputs are handed over to. The engine's thread is never made to wait.
///
/// The head of a stream goes out with the first token, so that what fails before gets a status of its own; what
/// fails after is an error event, and never a normal end.
final class RequestStream {
    private static final Logger LOG = LoggerFactory.getLogger(RequestStream.class);

    private final HttpExchange exchange;
    private final Engine engine;
    private final RequestRegistry registry;
    private final ServingMetrics metrics;
    private final GenerationOptions options;
    private final ResponseFormat format;
    private final ResponseHead head;
    private final String requestId;
    private final boolean promptTokensDetails;
    private final long arrivalNanos;
    private final Runnable whenOver;
    private final List<Sequence> sequences = new ArrayList<>();

    private volatile boolean over;
    // event loop only
    private final List<Runnable> early = new ArrayList<>();
    private boolean submitted;
    private boolean reportedOver;
    private int unfinished;
    private @Nullable HttpStream stream;

    /// One choice.
    private static final class Sequence {
        private final int index;
        private final String engineId;
        private final int[] prompt;
        private final SamplingParams sampling;
        private final boolean firstOfPrompt;
        private final SequenceText text;
        private final StringBuilder shown = new StringBuilder();
        private final List<int[]> tokenIds = new ArrayList<>();
        private final List<TokenLogprob> logprobs = new ArrayList<>();
        private int shownCharacters;
        private boolean chunked;
        private boolean closed;
        private boolean done;
        private long firstNanos;
        private long lastNanos;
        private String finishReason = "";
        private StopReason stopReason = new StopReason.None();
        private RequestOutput.@Nullable Finish finish;

        private Sequence(
                int index,
                String engineId,
                int[] prompt,
                SamplingParams sampling,
                boolean firstOfPrompt,
                SequenceText text) {
            this.index = index;
            this.engineId = engineId;
            this.prompt = prompt;
            this.sampling = sampling;
            this.firstOfPrompt = firstOfPrompt;
            this.text = text;
        }
    }

    /// @param requestId the client's id, or one made for it
    /// @param encoder makes the sampling parameters
    /// @param prompts at least one, each with at least one token
    /// @param whenOver called once, when the answer is complete or has become pointless
    /// @throws ApiException if the options do not fit the model
    RequestStream(
            HttpExchange exchange,
            Engine engine,
            Tokenizer tokenizer,
            RequestRegistry registry,
            ServingMetrics metrics,
            GenerationOptions options,
            ResponseFormat format,
            ResponseHead head,
            String requestId,
            Prompts encoder,
            List<int[]> prompts,
            boolean promptTokensDetails,
            long arrivalNanos,
            Runnable whenOver) {
        this.exchange = exchange;
        this.engine = engine;
        this.registry = registry;
        this.metrics = metrics;
        this.options = options;
        this.format = format;
        this.head = head;
        this.requestId = requestId;
        this.promptTokensDetails = promptTokensDetails;
        this.arrivalNanos = arrivalNanos;
        this.whenOver = whenOver;
        for (int[] prompt : prompts) {
            for (int choice = 0; choice < options.n(); choice++) {
                int index = sequences.size();
                // Two requests may carry the same id: what the engine sees is unique.
                String engineId = String.format(
                        Locale.ROOT,
                        "%s-%d-%08x",
                        head.id(),
                        index,
                        ThreadLocalRandom.current().nextInt());
                sequences.add(new Sequence(
                        index,
                        engineId,
                        prompt,
                        encoder.sampling(options, prompt.length, choice),
                        choice == 0,
                        new SequenceText(tokenizer, options)));
            }
        }
        this.unfinished = sequences.size();
    }

    /// Hands the sequences to the engine.
    ///
    /// @param kv what the request says about its hand-off; it concerns the first sequence only, as only one can own
    ///     a prefiller's blocks
    /// @throws ApiException if the engine does not take one of them; the others are aborted then, as after any
    ///     other exception
    void submit(Optional<KvTransferParams> kv) {
        try {
            exchange.onGone(reason -> abandon());
            for (Sequence sequence : sequences) {
                if (over) {
                    if (sequence.index == 0) {
                        release(kv);
                    }
                    break;
                }
                EngineRequest request = new EngineRequest(
                        sequence.engineId,
                        sequence.prompt,
                        sequence.sampling,
                        sequence.index == 0 ? kv : Optional.empty());
                registry.add(requestId, sequence.engineId);
                engine.submit(request, output -> exchange.execute(() -> receive(sequence, output)));
            }
        } catch (EngineException.QueueFull e) {
            abandon();
            metrics.rejected("max_num_queued_reqs");
            throw new ApiException(ApiError.unavailable(String.valueOf(e.getMessage())));
        } catch (EngineException e) {
            abandon();
            throw new ApiException(ApiError.unavailable(String.valueOf(e.getMessage())));
        } catch (IllegalArgumentException e) {
            abandon();
            throw new ApiException(ApiError.badRequest(String.valueOf(e.getMessage())));
        } catch (RuntimeException | Error e) {
            abandon();
            throw e;
        }
        if (over) {
            abortAll(); // the client went away while this thread was submitting
        }
        exchange.execute(() -> {
            submitted = true;
            early.forEach(Runnable::run);
            early.clear();
        });
    }

    private void release(Optional<KvTransferParams> kv) {
        if (kv.orElse(null) instanceof KvTransferParams.RemotePrefill source) {
            engine.releaseRemote(source);
        }
    }

    /// Gives the request up: its client is gone, or a part of it was refused.
    private void abandon() {
        exchange.execute(this::finishQuietly);
        over = true;
        abortAll();
    }

    private void abortAll() {
        for (Sequence sequence : sequences) {
            engine.abort(sequence.engineId);
            registry.remove(requestId, sequence.engineId);
        }
    }

    private void finishQuietly() {
        over = true;
        if (!reportedOver) {
            reportedOver = true;
            whenOver.run();
        }
    }

    /// The entry of the engine's outputs. A failure in here must not leave the client and the admission waiting.
    private void receive(Sequence sequence, RequestOutput output) {
        try {
            take(sequence, output);
        } catch (RuntimeException | Error e) {
            LOG.error("request {} failed", head.id(), e);
            fail(ApiError.internal("Internal server error"));
        }
    }

    private void take(Sequence sequence, RequestOutput output) {
        if (!submitted && !over) {
            early.add(() -> receive(sequence, output));
            return;
        }
        output.finish().ifPresent(finish -> finished(sequence, finish));
        if (over) {
            return;
        }
        long now = System.nanoTime();
        if (output.tokenIds().length > 0) {
            if (sequence.firstNanos == 0) {
                sequence.firstNanos = now;
                metrics.firstToken(now - arrivalNanos);
            } else {
                metrics.nextOutput(now - sequence.lastNanos);
            }
            sequence.lastNanos = now;
        }
        Optional<ApiError> failure = output.finish().flatMap(finish -> failure(sequence, finish));
        if (failure.isPresent()) {
            fail(failure.get());
            return;
        }
        if (!sequence.closed) {
            show(sequence, output);
        }
        if (output.finish().isPresent()) {
            unfinished--;
            metrics.finished(
                    sequence.finishReason,
                    output.finish().get(),
                    sequence.text.numTokens(),
                    now - arrivalNanos,
                    sequence.lastNanos - sequence.firstNanos);
            if (unfinished == 0) {
                complete();
            }
        }
    }

    private void finished(Sequence sequence, RequestOutput.Finish finish) {
        if (sequence.done) {
            return;
        }
        sequence.done = true;
        sequence.finish = finish;
        if (finish.kvTransferParams().isPresent() && !over) {
            registry.hold(requestId, sequence.engineId);
        } else {
            registry.remove(requestId, sequence.engineId);
            if (finish.kvTransferParams().isPresent()) {
                engine.abort(sequence.engineId); // nobody will hear of the blocks that are held
            }
        }
    }

    /// What a finish means for the client, if it is not a normal end.
    private Optional<ApiError> failure(Sequence sequence, RequestOutput.Finish finish) {
        return switch (finish.reason()) {
            case STOP, LENGTH -> Optional.empty();
            case ERROR -> {
                metrics.finished("error", finish, sequence.text.numTokens(), 0, 0);
                yield Optional.of(ApiError.internal(finish.error().orElse("the engine could not go on")));
            }
            case ABORT -> {
                boolean ourOwn = sequence.closed;
                if (ourOwn) {
                    yield Optional.empty();
                }
                yield Optional.of(
                        engine.isHealthy()
                                ? new ApiError(500, "The request was aborted.", "InternalServerError", Optional.empty())
                                : ApiError.unavailable("The server is shutting down."));
            }
        };
    }

    private void show(Sequence sequence, RequestOutput output) {
        SequenceText.Delta delta = sequence.text.accept(output);
        if (delta.stop().isPresent()) {
            sequence.finishReason = "stop";
            sequence.stopReason = new StopReason.StopText(delta.stop().get());
            sequence.closed = true;
            if (output.finish().isEmpty()) {
                engine.abort(sequence.engineId); // its finish, with the counts, comes as an output
            }
        } else if (output.finish().isPresent()) {
            RequestOutput.Finish finish = output.finish().get();
            sequence.finishReason = finish.reason() == FinishReason.STOP ? "stop" : "length";
            if (finish.stopTokenId().isPresent()) {
                sequence.stopReason =
                        new StopReason.StopToken(finish.stopTokenId().getAsInt());
            }
            sequence.closed = true;
        }
        if (options.stream()) {
            writeChunk(sequence, delta);
        } else {
            sequence.shown.append(delta.text());
            sequence.logprobs.addAll(delta.logprobs());
            if (options.returnTokenIds()) {
                sequence.tokenIds.add(delta.tokenIds());
            }
        }
    }

    private void writeChunk(Sequence sequence, SequenceText.Delta delta) {
        boolean last = !sequence.finishReason.isEmpty();
        if (delta.tokenIds().length == 0 && delta.text().isEmpty() && !last) {
            return;
        }
        HttpStream out = stream;
        if (out == null) {
            out = exchange.startStream(200, HttpHeaders.of("content-type", SseWriter.CONTENT_TYPE));
            stream = out;
            writeRoles(out);
        }
        boolean firstChunk = !sequence.chunked;
        sequence.chunked = true;
        boolean promptHere = firstChunk && options.returnTokenIds() && format instanceof ResponseFormat.Completion;
        Choice choice = new Choice(
                sequence.index,
                delta.text(),
                options.logprobs().isPresent(),
                delta.logprobs(),
                sequence.shownCharacters,
                last ? Optional.of(sequence.finishReason) : Optional.empty(),
                sequence.stopReason,
                options.returnTokenIds() ? Optional.of(delta.tokenIds()) : Optional.empty(),
                promptHere ? Optional.of(sequence.prompt) : Optional.empty());
        for (TokenLogprob token : delta.logprobs()) {
            sequence.shownCharacters +=
                    token.token().codePointCount(0, token.token().length());
        }
        boolean usageFollows = options.streamOptions().includeUsage();
        out.write(SseWriter.event(
                format.chunk(head, choice, runningUsage(sequence, sequence.text.numTokens()), last && !usageFollows)));
    }

    private void writeRoles(HttpStream out) {
        if (!(format instanceof ResponseFormat.Chat chat)) {
            return;
        }
        for (Sequence sequence : sequences) {
            Optional<int[]> prompt = options.returnTokenIds() ? Optional.of(sequence.prompt) : Optional.empty();
            out.write(SseWriter.event(ChatCompletionResponses.roleChunk(
                    head, sequence.index, chat.role(), runningUsage(sequence, 0), prompt)));
        }
    }

    private Optional<Usage> runningUsage(Sequence sequence, int tokens) {
        boolean wanted = options.streamOptions().includeUsage()
                && options.streamOptions().continuousUsageStats();
        return wanted ? Optional.of(new Usage(sequence.prompt.length, tokens, OptionalInt.empty())) : Optional.empty();
    }

    private Usage usage() {
        int promptTokens = 0;
        int cached = 0;
        int generated = 0;
        for (Sequence sequence : sequences) {
            generated += sequence.text.numTokens();
            if (sequence.firstOfPrompt) {
                promptTokens += sequence.prompt.length;
                RequestOutput.Finish finish = sequence.finish;
                if (finish != null) {
                    cached += finish.cachedTokens() + finish.externalTokens();
                }
            }
        }
        return new Usage(promptTokens, generated, promptTokensDetails ? OptionalInt.of(cached) : OptionalInt.empty());
    }

    private void complete() {
        HttpStream out = stream;
        if (out == null) {
            exchange.respondJson(200, format.full(head, choices(), usage(), heldBlocks()));
        } else {
            if (options.streamOptions().includeUsage()) {
                out.write(SseWriter.event(format.usageChunk(head, usage())));
            }
            out.write(SseWriter.done());
            out.end();
        }
        finishQuietly();
    }

    private List<Choice> choices() {
        List<Choice> choices = new ArrayList<>(sequences.size());
        for (Sequence sequence : sequences) {
            choices.add(new Choice(
                    sequence.index,
                    sequence.shown.toString(),
                    options.logprobs().isPresent(),
                    sequence.logprobs,
                    0,
                    Optional.of(sequence.finishReason),
                    sequence.stopReason,
                    options.returnTokenIds() ? Optional.of(joined(sequence.tokenIds)) : Optional.empty(),
                    options.returnTokenIds() ? Optional.of(sequence.prompt) : Optional.empty()));
        }
        return choices;
    }

    private static int[] joined(List<int[]> parts) {
        return parts.stream().flatMapToInt(java.util.Arrays::stream).toArray();
    }

    private Optional<KvTransferJson> heldBlocks() {
        RequestOutput.Finish finish = sequences.getFirst().finish;
        return finish == null ? Optional.empty() : finish.kvTransferParams().map(KvParams::toJson);
    }

    private void fail(ApiError error) {
        HttpStream out = stream;
        if (out == null) {
            ErrorAnswers.send(exchange, error);
        } else {
            out.write(SseWriter.error(error)); // no [DONE]: it would say that the output is complete
            out.end();
        }
        finishQuietly();
        abortAll();
    }
}
