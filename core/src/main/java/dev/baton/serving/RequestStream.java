package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.engine.EngineException;
import dev.baton.engine.EngineRequest;
import dev.baton.engine.RequestOutput;
import dev.baton.http.HttpExchange;
import dev.baton.http.Span;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One HTTP request that generates: its sequences in the engine, from submission to the end of its [Answer].
///
/// [#submit] runs on the thread that tokenised the prompts; everything after that on the exchange's event loop,
/// where the engine's outputs are handed over to. The engine's thread is never made to wait.
final class RequestStream {
    private static final Logger LOG = LoggerFactory.getLogger(RequestStream.class);

    private final HttpExchange exchange;
    private final Engine engine;
    private final RequestRegistry registry;
    private final ServingMetrics metrics;
    private final Generation generation;
    private final Runnable whenOver;
    private final List<Runnable> alsoWhenOver = new ArrayList<>(1);
    private final List<Sequence> sequences;
    private final Answer answer;

    private volatile boolean over;
    private volatile long submittedNanos;
    // event loop only
    private final List<Runnable> early = new ArrayList<>();
    private boolean submitted;
    private boolean reportedOver;
    private int unfinished;

    /// @param whenOver called once, when the answer is complete or has become pointless
    /// @throws ApiException if the options do not fit the model
    RequestStream(ServingContext context, HttpExchange exchange, Generation generation, Runnable whenOver) {
        this.exchange = exchange;
        this.engine = context.engine();
        this.registry = context.registry();
        this.metrics = context.metrics();
        this.generation = generation;
        this.whenOver = whenOver;
        this.sequences = sequences(context, generation);
        this.unfinished = sequences.size();
        this.answer = Answer.of(exchange, generation, sequences, context);
    }

    private static List<Sequence> sequences(ServingContext context, Generation generation) {
        Sampling.OfRequest sampling = context.sampling().of(generation.options());
        List<Sequence> sequences = new ArrayList<>();
        for (EncodedPrompt prompt : generation.prompts()) {
            for (int choice = 0; choice < generation.options().n(); choice++) {
                int index = sequences.size();
                // Two requests may carry the same id: what the engine sees is unique.
                String engineId = generation.head().id() + "-" + index + "-"
                        + HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextInt());
                sequences.add(new Sequence(
                        index,
                        engineId,
                        prompt,
                        sampling.params(prompt.length(), choice),
                        choice == 0,
                        new SequenceText(context.tokenizer(), prompt, generation.options())));
            }
        }
        return List.copyOf(sequences);
    }

    /// Hands the sequences to the engine.
    ///
    /// @param kv what the request says about its hand-off; it concerns the first sequence only, as only one can own
    ///     a prefiller's blocks
    /// @throws ApiException if the engine does not take one of them; the others are aborted then, as after any
    ///     other exception
    void submit(KvTransferParams kv) {
        try {
            exchange.onGone(reason -> abandon());
            for (Sequence sequence : sequences) {
                if (over) {
                    if (sequence.index() == 0) {
                        engine.releaseRemote(kv);
                    }
                    break;
                }
                EngineRequest request = new EngineRequest(
                        sequence.engineId(),
                        generation.head().id() + "-" + sequence.index(),
                        sequence.prompt().ids(),
                        generation.continuity().outputTokenIds(),
                        sequence.sampling(),
                        generation.priority(),
                        generation.options().user().orElse(EngineRequest.NO_TENANT),
                        sequence.index() == 0 ? kv : KvTransferParams.NONE);
                registry.add(generation.requestId(), sequence.engineId());
                if (sequence.index() == 0) {
                    submittedNanos = System.nanoTime();
                }
                engine.submit(request, output -> exchange.execute(() -> receive(sequence, output)));
            }
        } catch (EngineException.QueueFull e) {
            abandon();
            metrics.rejected(e.limit());
            throw new ApiException(ApiError.unavailable(e.getMessage() + " (" + flag(e.limit()) + ")", e.retryAfter()));
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
            repeatOutput();
            submitted = true;
            early.forEach(Runnable::run);
            early.clear();
        });
    }

    /// Brings text, stop texts and calls of tools to where another engine has got.
    private void repeatOutput() {
        if (over || !generation.options().output().stream()) {
            return;
        }
        List<RequestOutput.TokenLogprobs> logprobs =
                generation.options().output().logprobs().isPresent()
                        ? List.of(new RequestOutput.TokenLogprobs(0, 1, new int[0], new float[0]))
                        : List.of();
        for (int token : generation.continuity().outputTokenIds()) {
            show(sequences.getFirst(), new RequestOutput(new int[] {token}, logprobs, List.of(), Optional.empty()));
        }
    }

    private static String flag(EngineException.QueueFull.Limit limit) {
        return switch (limit) {
            case REQUESTS -> "--max-waiting";
            case PROMPT_TOKENS -> "--max-num-queued-tokens";
        };
    }

    /// Gives the request up: its client is gone, or a part of it was refused.
    private void abandon() {
        exchange.execute(this::finishQuietly);
        over = true;
        abortAll();
    }

    private void abortAll() {
        for (Sequence sequence : sequences) {
            engine.abort(sequence.engineId());
            registry.remove(generation.requestId(), sequence.engineId());
        }
    }

    /// Registers what else to do when the answer is complete or has become pointless. Before [#submit].
    void whenOver(Runnable task) {
        alsoWhenOver.add(task);
    }

    /// Sends a sign of life if the answer is a stream that has been silent for too long. Any thread.
    void keepAlive() {
        exchange.execute(() -> {
            if (submitted && !over) {
                answer.keepAlive();
            }
        });
    }

    private void finishQuietly() {
        over = true;
        if (!reportedOver) {
            reportedOver = true;
            whenOver.run();
            alsoWhenOver.forEach(Runnable::run);
        }
    }

    /// The entry of the engine's outputs. A failure in here must not leave the client and the admission waiting.
    private void receive(Sequence sequence, RequestOutput output) {
        try {
            take(sequence, output);
        } catch (RuntimeException | Error e) {
            LOG.error("request {} failed", generation.head().id(), e);
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
            long before = sequence.tokensAt(now);
            if (before == 0) {
                metrics.firstToken(now - exchange.arrivalNanos());
                exchange.span().ifPresent(span -> traceFirstToken(span, now));
            } else {
                metrics.nextOutput(now - before);
            }
        }
        Optional<ApiError> failure = output.finish().flatMap(finish -> failure(sequence, finish));
        if (failure.isPresent()) {
            fail(failure.get());
            return;
        }
        if (!sequence.isClosed()) {
            show(sequence, output);
        }
        if (output.finish().isPresent()) {
            unfinished--;
            if (sequence.index() == 0) { // others of the request share its prompt
                RequestOutput.Timings timings = output.finish().get().timings();
                exchange.span().ifPresent(span -> traceParts(span, timings, sequence.numTokens()));
            }
            metrics.finished(
                    sequence.finishReason().orElseThrow(),
                    output.finish().get(),
                    sequence.numTokens(),
                    now - exchange.arrivalNanos(),
                    sequence.decodeNanos());
            if (unfinished == 0) {
                metrics.completed(sequences);
                exchange.span().ifPresent(span -> traceCompleted(span, now));
                answer.complete();
                finishQuietly();
            }
        }
    }

    /// The names are vLLM's.
    private void traceFirstToken(Span span, long now) {
        span.event("first token");
        span.attribute("gen_ai.latency.time_to_first_token", (now - exchange.arrivalNanos()) / 1e9);
    }

    /// Where the time in the engine went.
    private void traceParts(Span span, RequestOutput.Timings timings, int numTokens) {
        span.attribute("gen_ai.latency.time_in_queue", timings.queuedNanos() / 1e9);
        span.attribute("gen_ai.latency.time_in_model_prefill", timings.prefillNanos() / 1e9);
        span.attribute("gen_ai.latency.time_in_model_decode", timings.decodeNanos() / 1e9);
        long turn = submittedNanos + timings.queuedNanos();
        long computes = turn + timings.transferNanos();
        long token = turn + timings.prefillNanos();
        span.part("queue", submittedNanos, turn);
        if (timings.transferNanos() > 0) {
            span.part("transfer", turn, computes);
        }
        span.part("prefill", computes, token);
        if (numTokens > 1) {
            span.part("decode", token, token + timings.decodeNanos());
        }
    }

    private void traceCompleted(Span span, long now) {
        span.attribute("gen_ai.request.id", generation.head().id());
        span.attribute("gen_ai.request.n", sequences.size());
        span.attribute(
                "gen_ai.usage.completion_tokens",
                sequences.stream().mapToInt(Sequence::numTokens).sum());
        span.attribute("gen_ai.latency.e2e", (now - exchange.arrivalNanos()) / 1e9);
    }

    private void show(Sequence sequence, RequestOutput output) {
        SequenceText.Delta delta = sequence.accept(output);
        if (sequence.isClosed() && output.finish().isEmpty()) {
            engine.stop(sequence.engineId()); // its finish, with the counts, comes as an output
        }
        answer.add(sequence, delta);
    }

    private void finished(Sequence sequence, RequestOutput.Finish finish) {
        if (!sequence.end(finish)) {
            return;
        }
        switch (finish.reason()) {
            case ERROR -> metrics.broken("error");
            case ABORT -> {
                if (!sequence.isClosed()) {
                    metrics.broken("abort");
                }
            }
            case STOP, LENGTH -> {} // counted with its answer
        }
        if (finish.held() && !over) {
            registry.hold(generation.requestId(), sequence.engineId());
        } else {
            registry.remove(generation.requestId(), sequence.engineId());
            if (finish.held()) {
                engine.abort(sequence.engineId()); // nobody will hear of the blocks that are held
            }
        }
    }

    /// What a finish means for the client, if it is not a normal end.
    private Optional<ApiError> failure(Sequence sequence, RequestOutput.Finish finish) {
        return switch (finish.reason()) {
            case STOP, LENGTH -> Optional.empty();
            case ERROR -> Optional.of(ApiError.internal(finish.error().orElse("the engine could not go on")));
            case ABORT -> {
                boolean ourOwn = sequence.isClosed();
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

    private void fail(ApiError error) {
        try {
            answer.fail(error);
        } finally {
            finishQuietly();
            abortAll();
        }
    }
}
