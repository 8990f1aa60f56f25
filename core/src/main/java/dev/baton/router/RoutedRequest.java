package dev.baton.router;

import dev.baton.http.ApiKey;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.openai.ApiError;
import dev.baton.openai.Continuation;
import dev.baton.openai.SseWriter;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.HandoffException;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.Route;
import dev.baton.router.policy.RouteOutcome;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// One generation request on its way: which routes are tried ([Attempt]), and what the client gets.
///
/// Nothing is sent to the client before a decoder's answer is known to have content, so until then a broken leg is
/// repeated elsewhere, each engine once (once more if only a kept connection had died). After that another decoder
/// goes on where the stream broke off, if it can be told where that is; else the stream ends with an error event,
/// and `[DONE]` never comes.
///
/// Everything here runs on the event loop of its exchange.
final class RoutedRequest implements Attempt.Request {
    private static final Logger LOG = LoggerFactory.getLogger(RoutedRequest.class);
    private static final String CONTINUED = "continued";
    private static final Logger ACCESS = LoggerFactory.getLogger(AccessLog.NAME);

    private static final String STREAM_ERROR = "stream_error";

    private final RouterContext router;
    private final HttpExchange exchange;
    private final GenerationRequest request;
    private final RequestId id;
    private final long startNanos;
    private final LoadShedder.Place place;
    private final Map<String, String> decodeHeaders;
    private final AnswerStream stream;
    private final StreamProgress progress = new StreamProgress();
    private final Set<Upstream> tried = new HashSet<>();

    private boolean over;
    private boolean isRouted;
    private boolean wantsHandoff;
    private Optional<String> obstacle = Optional.empty();
    private boolean fellBack;
    private String fallbackCause = "no prefiller is up";
    private GenerationRequest legs;
    private @Nullable PromptContinuation rest;
    private int numAttempts;
    private int numMigrations;
    private @Nullable Attempt attempt;
    private @Nullable Decision<Upstream> decision;
    private @Nullable Upstream repeatedOn;
    private TokenUsage usage = TokenUsage.UNKNOWN;
    private double prefillMillis = Double.NaN;
    private double firstTokenMillis = Double.NaN;

    /// @param place among the requests that wait; left at the latest when the exchange is answered or gone
    RoutedRequest(
            RouterContext router,
            HttpExchange exchange,
            GenerationRequest request,
            RequestId id,
            LoadShedder.Place place,
            long startNanos) {
        this.router = router;
        this.exchange = exchange;
        this.request = request;
        this.legs = request;
        this.id = id;
        this.place = place;
        this.startNanos = startNanos;
        this.stream = new AnswerStream(exchange, id);
        // The seed is for a request that has none: whoever goes on has to draw the same numbers.
        this.decodeHeaders = request.isContinuable() && router.config().maxMigrations() > 0
                ? Map.of(
                        Continuation.HEADER,
                        Long.toString(ThreadLocalRandom.current().nextLong()))
                : Map.of();
    }

    /// Begins; the exchange is answered in any case.
    void start() {
        guarded(() -> {
            exchange.onGone(gone -> guarded(this::abort));
            if (over) { // the client left while its body was parsed
                return;
            }
            Backend backend = router.config().backend();
            obstacle = request.handoffObstacle(backend.handsOverBatches());
            obstacle.ifPresent(this::cannotBeHandedOver);
            if (obstacle.isPresent() && !backend.decodersServeAlone()) {
                fail(RouterErrors.notHandedOver(obstacle.get()));
                return;
            }
            wantsHandoff = !router.pool().prefillers().isEmpty() && obstacle.isEmpty();
            route(() -> fail(noRoute()));
        });
    }

    private void cannotBeHandedOver(String why) {
        if (!router.pool().prefillers().isEmpty()) {
            router.obstacles().met(id.upstream(), why);
            LOG.debug("request {} cannot be handed over: it asks for {}", id.upstream(), why);
        }
    }

    /// Every way in from outside but an attempt's, which has its own guard.
    private void guarded(Runnable step) {
        try {
            step.run();
        } catch (RuntimeException | Error e) {
            crashed(e);
        }
    }

    @Override
    public void crashed(Throwable cause) {
        LOG.error("request {} met a bug of the router", id.upstream(), cause);
        if (!over) {
            fail(RouterErrors.INTERNAL);
        }
    }

    private void route(Runnable ifNoneLeft) {
        List<Upstream> prefillers = wantsHandoff ? router.pool().availablePrefillers(tried) : List.of();
        Optional<Decision<Upstream>> found =
                router.policy().route(request.facts(), prefillers, decoders()).or(this::routeToPrefillerAlone);
        if (found.isEmpty()) {
            ifNoneLeft.run();
            return;
        }
        decision = found.get();
        Route<Upstream> route = found.get().route();
        if (route instanceof Route.Direct<Upstream> && wantsHandoff && prefillers.isEmpty()) {
            fallBack(route.decoder());
        }
        begin(route, ifNoneLeft);
    }

    /// What cannot be handed over is for the decoders; a prefiller that can do both answers it where none is left.
    private Optional<Decision<Upstream>> routeToPrefillerAlone() {
        if (wantsHandoff || !router.prefillersAnswer().getAsBoolean()) {
            return Optional.empty(); // the policy was told of the prefillers, or they do not answer
        }
        return router.policy()
                .route(request.facts(), List.of(), thatGoOn(router.pool().availablePrefillers(tried)))
                .map(found -> new Decision<>(
                        new Route.Aggregated<>(found.route().decoder()), "no decoder is left", found.considered()));
    }

    private List<Upstream> decoders() {
        return thatGoOn(router.pool().availableDecoders(tried));
    }

    private List<Upstream> thatGoOn(List<Upstream> engines) {
        return continues()
                ? engines.stream()
                        .filter(engine -> !engine.streamsWithoutComments())
                        .toList()
                : engines;
    }

    /// Whether its legs say where to go on: an engine that knows nothing of that would begin anew.
    private boolean continues() {
        return legs.tree().has(Continuation.FIELD);
    }

    private ApiError noRoute() {
        boolean lacksPrefiller = !router.config().backend().decodersServeAlone()
                && router.pool().availablePrefillers(tried).isEmpty();
        return lacksPrefiller ? RouterErrors.NO_PREFILLER : RouterErrors.NO_DECODER;
    }

    private void begin(Route<Upstream> route, Runnable ifNoneLeft) {
        Attempt next;
        try {
            next = Attempt.on(router, this, nextId(), route);
        } catch (HandoffException e) {
            LOG.warn("request {}: {}", id.upstream(), e.getMessage());
            notDescribed(route, ifNoneLeft);
            return;
        }
        begin(next);
    }

    private void fallBack(Upstream decoder) {
        if (!fellBack) {
            fellBack = true;
            router.metrics().fellBack(fallbackCause);
            LOG.warn("request {}: {} prefills itself: {}", id.upstream(), decoder, fallbackCause);
        }
    }

    private void notDescribed(Route<Upstream> route, Runnable ifNoneLeft) {
        if (!(route instanceof Route.Disaggregated<Upstream>(Upstream prefiller, Upstream _))) {
            throw new IllegalStateException("a hand-off without a prefiller");
        }
        fallbackCause = "not described";
        router.metrics().legFailed(prefiller, fallbackCause);
        tried.add(prefiller);
        route(ifNoneLeft);
    }

    /// Some connectors find the KV cache by the request's id, so that no two tries may share one.
    private String nextId() {
        int number = numAttempts++;
        return number == 0 ? id.upstream() : id.upstream() + "-r" + number;
    }

    private void begin(Attempt next) {
        if (over) {
            next.release();
            return;
        }
        attempt = next;
        if (!isRouted) {
            isRouted = true;
            exchange.span().ifPresent(span -> span.part("route", startNanos, System.nanoTime()));
        }
        next.start();
    }

    /* What attempts ask and tell. */

    @Override
    public HttpExchange exchange() {
        return exchange;
    }

    @Override
    public GenerationRequest legs() {
        return legs;
    }

    @Override
    public Map<String, String> decodeHeaders() {
        return decodeHeaders;
    }

    @Override
    public boolean wantsTokenIds() {
        return rest == null
                && !decodeHeaders.isEmpty()
                && router.pool().decoders().size() > 1
                && PromptContinuation.serves(request)
                && !asksForTokenIds();
    }

    private boolean asksForTokenIds() {
        return request.tree().path(PromptContinuation.TOKEN_IDS).asBoolean(false);
    }

    @Override
    public DecoderAnswer.Telling telling(boolean asked) {
        if (rest != null) {
            return new DecoderAnswer.Telling.Rest(rest);
        }
        if (continues()) {
            return new DecoderAnswer.Telling.Continued();
        }
        boolean byClient = asksForTokenIds();
        return asked || (byClient && PromptContinuation.serves(request))
                ? new DecoderAnswer.Telling.Ids(byClient)
                : new DecoderAnswer.Telling.Nothing();
    }

    @Override
    public AnswerStream stream() {
        return stream;
    }

    @Override
    public StreamProgress progress() {
        return progress;
    }

    @Override
    public void prefilled(Upstream prefiller) {
        router.policy().prefilled(request.facts());
        if (numMigrations > 0) {
            return; // the client has its first token from another route
        }
        double millis = millisSinceStart();
        router.ttft().prefilled(prefiller.prefillerIndex(), millis);
        router.metrics().firstToken(prefiller, millis / 1e3);
        if (!over) {
            prefillMillis = millis;
        }
        if (!request.isStreamed()) {
            place.served();
        }
    }

    @Override
    public void firstBytes(Upstream decoder) {
        router.policy().firstToken(request.facts());
        if (!stream.isOpen()) {
            firstTokenMillis = millisSinceStart();
            router.ttft().decoded(decoder.decoderIndex(), firstTokenMillis);
            router.metrics().firstToken(decoder, firstTokenMillis / 1e3);
        } else {
            LOG.info("request {}: {} goes on with the stream", id.upstream(), decoder);
        }
    }

    @Override
    public void ended(Attempt by, Attempt.End end) {
        if (over) {
            return;
        }
        switch (end) {
            case Attempt.End.Answered(HttpClientResponse answer) -> passOn(answer);
            case Attempt.End.Streamed() -> {
                stream.end();
                end("200");
            }
            case Attempt.End.PrefillFailed failed -> prefillFailed(by, failed);
            case Attempt.End.DecodeFailed failed -> decodeFailed(by, failed);
            case Attempt.End.Hopeless(ApiError error) -> fail(error);
        }
    }

    private void prefillFailed(Attempt by, Attempt.End.PrefillFailed failed) {
        if (failed.repeatable() && mayRepeatOn(failed.engine())) {
            begin(by.route(), () -> fail(noRoute()));
            return;
        }
        blame(failed.engine(), failed.repeatable(), failed.cause());
        tried.add(failed.engine());
        fallbackCause = failed.cause();
        route(() -> fail(noRoute()));
    }

    private void decodeFailed(Attempt by, Attempt.End.DecodeFailed failed) {
        if (by.stage() == Attempt.Stage.STREAM) {
            numMigrations++;
        } else if (failed.repeatable() && mayRepeatOn(failed.engine())) {
            repeat(by, failed.ifNoneLeft());
            return;
        } else {
            blame(failed.engine(), failed.repeatable(), failed.cause());
        }
        tried.add(failed.engine());
        if (stream.isOpen()) {
            migrate(by, failed.ifNoneLeft());
        } else if (failed.ifNoneLeft() instanceof Attempt.IfNoneLeft.Event(var head, byte[] event)
                && EngineErrors.isOfTheRequest(event)) {
            by.release();
            failWith(head, event);
        } else if (by.isOfUseToOthers()) {
            otherDecoder().ifPresentOrElse(other -> begin(by.withDecoder(other)), () -> failWith(failed.ifNoneLeft()));
        } else {
            by.release();
            route(() -> failWith(failed.ifNoneLeft()));
        }
    }

    private void repeat(Attempt by, Attempt.IfNoneLeft ifNoneLeft) {
        if (by.isOfUseToOthers()) {
            begin(by.withDecoder(by.route().decoder()));
        } else {
            by.release();
            begin(by.route(), () -> failWith(ifNoneLeft));
        }
    }

    /// A connection that broke says something of its engine unless it was a kept one.
    private static void blame(Upstream engine, boolean closed, String cause) {
        if (closed) {
            engine.broke("its connection broke: " + cause);
        }
    }

    /// A kept connection can die in the moment in which it is used, which says nothing about the engine; a second
    /// death in a row does.
    private boolean mayRepeatOn(Upstream engine) {
        if (engine.equals(repeatedOn) || engine.state() == Upstream.State.DOWN) {
            return false;
        }
        repeatedOn = engine;
        return true;
    }

    private Optional<Upstream> otherDecoder() {
        Optional<Upstream> other = router.policy()
                .route(request.facts(), List.of(), decoders())
                .map(found -> found.route().decoder());
        other.ifPresent(decoder -> router.policy().fetchesOnly(request.facts()));
        return other;
    }

    /// Lets another decoder go on with a stream that the client has a part of.
    private void migrate(Attempt by, Attempt.IfNoneLeft ifNoneLeft) {
        by.release();
        boolean mayGoOn = decodeHeaders.containsKey(Continuation.HEADER)
                && numMigrations <= router.config().maxMigrations()
                && !(ifNoneLeft instanceof Attempt.IfNoneLeft.Event(var _, byte[] event)
                        && EngineErrors.isOfTheRequest(event));
        if (!mayGoOn) {
            breakOff(ifNoneLeft, "refused");
            return;
        }
        switch (progress.rest(request.wantsUsageEvent())) {
            case StreamProgress.Rest.OnlyDone() -> {
                router.metrics().migrated("complete");
                stream.write(SseWriter.done());
                stream.end();
                end("200");
            }
            case StreamProgress.Rest.Usage(byte[] event) -> {
                router.metrics().migrated("complete");
                stream.write(event);
                stream.write(SseWriter.done());
                stream.end();
                end("200");
            }
            case StreamProgress.Rest.From(Continuation continuation) -> {
                legs = request.continued(continuation);
                goOn(continuation.outputTokenIds().length, CONTINUED, ifNoneLeft);
            }
            case StreamProgress.Rest.After after ->
                goOnBehind(
                        after.head(),
                        after.numOutputTokens(),
                        (next, limit) -> next.body(request.tree(), after.tokens(), limit),
                        CONTINUED,
                        ifNoneLeft);
            case StreamProgress.Rest.AfterText after -> goOnAfterText(after, ifNoneLeft);
            case StreamProgress.Rest.Unknown() -> breakOff(ifNoneLeft, "its tokens are not known");
        }
    }

    private void goOnAfterText(StreamProgress.Rest.AfterText after, Attempt.IfNoneLeft ifNoneLeft) {
        if (router.config().exactContinuation() || !PromptContinuation.servesText(request)) {
            breakOff(ifNoneLeft, "its tokens are not known");
            return;
        }
        goOnBehind(
                after.head(),
                after.numTokens(),
                (next, limit) -> next.body(request.tree(), after.text(), limit),
                "continued from text",
                ifNoneLeft);
    }

    /// @param head an event of the stream so far
    /// @param numTokens that the client has
    /// @param body makes the body of the rest, for so many tokens more
    private void goOnBehind(
            JsonNode head,
            int numTokens,
            BiFunction<PromptContinuation, Integer, ObjectNode> body,
            String outcome,
            Attempt.IfNoneLeft ifNoneLeft) {
        OptionalInt limit = PromptContinuation.limit(request);
        if (limit.isEmpty() || limit.getAsInt() <= numTokens) {
            breakOff(ifNoneLeft, "how long it may become is not known");
            return;
        }
        PromptContinuation next = new PromptContinuation(request, head, numTokens);
        rest = next;
        legs = request.afterPrompt(body.apply(next, limit.getAsInt() - numTokens));
        goOn(numTokens, outcome, ifNoneLeft);
    }

    /// @param outcome what happens, in the metrics' words: one that is "from text" need not be what the engine that
    ///     failed would have sent
    private void goOn(int numTokens, String outcome, Attempt.IfNoneLeft ifNoneLeft) {
        LOG.warn(
                "request {}: its stream broke off after {} tokens, another decoder is to go on: {}",
                id.upstream(),
                numTokens,
                outcome);
        router.metrics().migrated(outcome);
        route(() -> breakOff(ifNoneLeft, "no decoder is left"));
    }

    private void breakOff(Attempt.IfNoneLeft ifNoneLeft, String why) {
        LOG.warn("request {}: its stream ends with an error: {}", id.upstream(), why);
        router.metrics().migrated("broken off");
        failWith(ifNoneLeft);
    }

    /* How it ends. */

    private void failWith(Attempt.IfNoneLeft how) {
        switch (how) {
            case Attempt.IfNoneLeft.Own(ApiError error) -> fail(error);
            case Attempt.IfNoneLeft.Answer(HttpClientResponse answer) -> {
                if (stream.isOpen()) {
                    fail(RouterErrors.STREAM_BROKE);
                } else {
                    release();
                    passOn(answer);
                }
            }
            case Attempt.IfNoneLeft.Event(var head, byte[] event) -> {
                release();
                failWith(head, event);
            }
        }
    }

    /// An engine's own error event: in the stream if there is one, else as the plain error response that it is.
    private void failWith(HttpHeaders head, byte[] event) {
        if (stream.isOpen()) {
            stream.fail(event);
            end(STREAM_ERROR);
            return;
        }
        int status = EngineErrors.status(event);
        HttpHeaders fields = ForwardedHeaders.toClient(
                head.without(name -> name.equals("content-type") || name.equals("cache-control")), id);
        exchange.respond(status, fields.with("content-type", "application/json"), EngineErrors.json(event));
        end(Integer.toString(status));
    }

    private void release() {
        if (attempt != null) {
            attempt.release();
        }
    }

    /// An engine's own answer, as it is.
    private void passOn(HttpClientResponse answer) {
        if (answer.status() == 200) {
            usage = TokenUsage.find(answer.body()).orElse(TokenUsage.UNKNOWN);
        }
        exchange.respond(answer.status(), ForwardedHeaders.toClient(answer.headers(), id), answer.body());
        end(Integer.toString(answer.status()));
    }

    private void fail(ApiError error) {
        if (over) {
            return;
        }
        boolean streaming = stream.isOpen();
        if (streaming) {
            stream.fail(error.equals(RouterErrors.INTERNAL) ? error : RouterErrors.STREAM_BROKE);
        } else {
            exchange.respond(error.status(), RouterErrors.headers(error, id), error.toJson());
        }
        end(streaming ? STREAM_ERROR : Integer.toString(error.status()));
        if (attempt != null) {
            attempt.cancel();
        }
    }

    /// The client is gone. Closing the legs aborts them on their engines; a prefill that has ended is told, because
    /// only its lease would end it otherwise.
    private void abort() {
        if (over) {
            return;
        }
        router.metrics()
                .aborted(attempt == null ? "prefill" : attempt.stage().name().toLowerCase(Locale.ROOT));
        end("aborted");
        if (attempt != null) {
            attempt.cancel();
        }
    }

    private void end(String outcome) {
        if (over) {
            return;
        }
        over = true;
        Attempt last = attempt;
        router.metrics().requestEnded(request.endpoint(), last == null ? "none" : kind(last.route()), outcome);
        if (stream.isOpen()) {
            usage = progress.usage();
        }
        exchange.apiKey().filter(ApiKey::limitsTokens).ifPresent(key -> correctTokens(key, outcome));
        if (last != null) {
            router.policy().ended(request.facts(), outcome(last.route(), outcome.equals("200")));
        }
        if (router.config().accessLog()) {
            log(last, outcome);
        }
    }

    /// What an engine has counted is known where it is said; what was refused cost nobody anything.
    private void correctTokens(ApiKey key, String outcome) {
        long taken = request.estimatedPromptTokens();
        boolean refused = outcome.startsWith("4") || outcome.startsWith("5");
        long prompt = usage.promptTokens() < 0 ? taken : usage.promptTokens();
        key.correctTokens(taken, refused ? 0 : prompt + Math.max(0, usage.outputTokens()));
    }

    private RouteOutcome outcome(Route<Upstream> route, boolean served) {
        return new RouteOutcome(
                route,
                served,
                prefillMillis,
                firstTokenMillis,
                millisSinceStart(),
                usage.promptTokens(),
                usage.cachedTokens(),
                usage.outputTokens());
    }

    private static String kind(Route<Upstream> route) {
        return switch (route) {
            case Route.Disaggregated<Upstream> _ -> "disaggregated";
            case Route.Direct<Upstream> _ -> "direct";
            case Route.Aggregated<Upstream> _ -> "aggregated";
        };
    }

    private void log(@Nullable Attempt last, String outcome) {
        Optional<Route<Upstream>> route = Optional.ofNullable(last).map(Attempt::route);
        Decision<Upstream> chosen = decision;
        ACCESS.info(
                "{} {} {} {} ms id={} key={} route={} reason=\"{}\" prefiller={} decoder={} attempts={} migrations={}"
                        + " tokens={}/{}",
                exchange.remoteAddress(),
                request.endpoint().path(),
                outcome,
                Math.round(millisSinceStart()),
                id.upstream(),
                AccessLog.keyName(exchange),
                route.map(RoutedRequest::kind).orElse("none"),
                reason(chosen),
                route.flatMap(RoutedRequest::prefiller).orElse("-"),
                route.map(taken -> taken.decoder().address().toString()).orElse("-"),
                numAttempts,
                numMigrations,
                usage.promptTokens(),
                usage.outputTokens());
    }

    private String reason(@Nullable Decision<Upstream> chosen) {
        String ofPolicy = chosen == null ? "" : chosen.reason();
        return obstacle.isEmpty()
                ? ofPolicy
                : ofPolicy + (ofPolicy.isEmpty() ? "" : "; ") + "cannot be handed over: " + obstacle.get();
    }

    private static Optional<String> prefiller(Route<Upstream> route) {
        return route instanceof Route.Disaggregated<Upstream>(Upstream prefiller, Upstream _)
                ? Optional.of(prefiller.address().toString())
                : Optional.empty();
    }

    private double millisSinceStart() {
        return (System.nanoTime() - startNanos) / 1e6;
    }
}
