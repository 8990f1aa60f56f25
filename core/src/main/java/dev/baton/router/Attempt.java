package dev.baton.router;

import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.Json;
import dev.baton.http.WholeResponse;
import dev.baton.openai.ApiError;
import dev.baton.openai.Continuation;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Handoff;
import dev.baton.router.policy.Route;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// One try of a request on one route: its legs in the order that the hand-off asks for, and one [End].
///
/// What an end means for the request is not decided here, but what it means for the engines is. After it the
/// attempt only takes note of what still comes. Everything here runs on the event loop of the exchange.
final class Attempt {
    private static final Logger LOG = LoggerFactory.getLogger(Attempt.class);

    private static final String ABORT_PATH = "/abort_requests";
    private static final long NEVER = Long.MIN_VALUE;

    /// How far it is.
    enum Stage {
        /// A prefiller computes.
        PREFILL,
        /// A decoder has not yet said anything.
        DECODE,
        /// The decoder's events go to the client.
        STREAM
    }

    /// What became of it.
    sealed interface End {
        /// An engine's own answer, for the client.
        record Answered(HttpClientResponse answer) implements End {}

        /// The client has the whole stream.
        record Streamed() implements End {}

        /// The prefiller failed it.
        ///
        /// @param repeatable whether perhaps only a kept connection had died
        record PrefillFailed(Upstream engine, String cause, boolean repeatable) implements End {}

        /// The decoder failed it, before its first bytes or in the midst of its stream.
        ///
        /// @param repeatable whether perhaps only a kept connection had died
        /// @param ifNoneLeft what to tell the client if no other engine is left
        record DecodeFailed(Upstream engine, String cause, boolean repeatable, IfNoneLeft ifNoneLeft) implements End {}

        /// The client cannot be served in time, or the answer not be passed on.
        record Hopeless(ApiError error) implements End {}
    }

    /// What the client is told of a decoder's failure.
    sealed interface IfNoneLeft {
        /// The router's own words.
        record Own(ApiError error) implements IfNoneLeft {}

        /// The engine's answer.
        record Answer(HttpClientResponse answer) implements IfNoneLeft {}

        /// The engine's error event.
        record Event(HttpHeaders head, byte[] event) implements IfNoneLeft {}
    }

    /// The request that this is a try of.
    interface Request {
        HttpExchange exchange();

        /// What the legs ask for: the client's request, or the rest of it.
        GenerationRequest legs();

        /// Header fields of the decode leg besides the hand-off's.
        Map<String, String> decodeHeaders();

        /// How the decoder's events are to be understood if it writes no comments for the router.
        ///
        /// @param asked whether it is asked for token ids
        DecoderAnswer.Telling telling(boolean asked);

        /// Whether the tokens of a decoder that writes no comments are worth asking for.
        boolean wantsTokenIds();

        AnswerStream stream();

        StreamProgress progress();

        /// A prefiller has answered.
        void prefilled(Upstream prefiller);

        /// A decoder's first bytes go out.
        void firstBytes(Upstream decoder);

        void ended(Attempt attempt, End end);

        /// A bug of the router's own.
        void crashed(Throwable cause);
    }

    private final RouterContext router;
    private final Request request;
    private final String id;
    private final Route<Upstream> route;
    private final @Nullable Upstream prefiller;
    private final Upstream decoder;
    private final @Nullable Handoff handoff;
    private Optional<JsonNode> found = Optional.empty();

    private Stage stage;
    private boolean over;
    private boolean prefillEnded;
    /// Whether the prefiller may hold blocks that nobody else will make it let go of.
    private boolean holds;

    private final long startNanos = System.nanoTime();
    private long prefilledNanos = NEVER;
    private long firstTokenNanos = NEVER;
    private long secondTokenNanos = NEVER;
    private boolean announced;
    private Announcements.@Nullable Expectation expectation;
    private @Nullable Runnable announcementTimer;
    private @Nullable Leg prefillLeg;
    private @Nullable Leg decodeLeg;
    /// Whether its engines have to know of it also while it has no leg there.
    private boolean reserves = true;

    private Attempt(
            RouterContext router,
            Request request,
            String id,
            Route<Upstream> route,
            @Nullable Upstream prefiller,
            @Nullable Handoff handoff) {
        this.router = router;
        this.request = request;
        this.id = id;
        this.route = route;
        this.prefiller = prefiller;
        this.decoder = route.decoder();
        this.handoff = handoff;
        this.stage = handoff != null && handoff.order() != Handoff.Order.DECODER_LEADS ? Stage.PREFILL : Stage.DECODE;
        decoder.reserve();
        if (prefiller != null) {
            prefiller.reserve();
        }
    }

    /// Its legs alone say from now on what its engines still do for it.
    private void letGo() {
        if (reserves) {
            reserves = false;
            decoder.release();
            if (prefiller != null) {
                prefiller.release();
            }
        }
    }

    /// A try on a route.
    ///
    /// @param id unique among all tries of all requests
    /// @throws dev.baton.router.backend.HandoffException if the engines cannot hand over as they are described
    static Attempt on(RouterContext router, Request request, String id, Route<Upstream> route) {
        if (route instanceof Route.Disaggregated<Upstream>(Upstream prefiller, Upstream decoder)) {
            Handoff handoff = handoff(router, request, id, prefiller, decoder);
            return new Attempt(router, request, handoff.requestId(), route, prefiller, handoff);
        }
        return new Attempt(router, request, router.config().backend().directRequestId(id), route, null, null);
    }

    private static Handoff handoff(
            RouterContext router, Request request, String id, Upstream prefiller, Upstream decoder) {
        Backend backend = router.backend(prefiller, decoder);
        Optional<Handoff> push = backend.pushes()
                        && router.pushes()
                                .pushes(pair(prefiller, decoder), request.legs().estimatedPromptTokens())
                ? backend.push(prefiller.handOffInfo(), decoder.info(), id)
                : Optional.empty();
        Handoff handoff = push.isPresent() ? push.get() : backend.handoff(prefiller.info(), decoder.info(), id);
        if (backend.pushes()) {
            router.metrics().handedOff(push.isPresent());
        }
        return handoff;
    }

    private static String pair(Upstream prefiller, Upstream decoder) {
        return prefiller.address() + " " + decoder.address();
    }

    /// A try of another decoder with what the prefiller of this one has made. This one is over then.
    Attempt withDecoder(Upstream other) {
        if (prefiller == null) {
            throw new IllegalStateException("there is no prefiller");
        }
        Attempt next =
                new Attempt(router, request, id, new Route.Disaggregated<>(prefiller, other), prefiller, handoff);
        next.stage = Stage.DECODE;
        next.prefillEnded = true;
        next.holds = holds;
        next.found = found;
        holds = false;
        return next;
    }

    /// Whether what the prefiller has made is of use to another decoder.
    boolean isOfUseToOthers() {
        return handoff != null
                && handoff.fitsAnyDecoder()
                && prefillEnded
                && holds
                && (handoff.order() != Handoff.Order.CONCURRENT || found.isPresent());
    }

    Route<Upstream> route() {
        return route;
    }

    Stage stage() {
        return stage;
    }

    void start() {
        if (stage == Stage.DECODE) {
            decode();
            return;
        }
        prefill();
        if (handoff != null && handoff.order() == Handoff.Order.CONCURRENT) {
            decode();
        }
    }

    /// Ends what is under way, because nobody wants it any more.
    void cancel() {
        over = true;
        stopWaiting();
        if (prefillLeg != null && !prefillEnded) {
            prefillLeg.cancel();
        }
        if (decodeLeg != null) {
            decodeLeg.cancel();
        }
        release();
        letGo();
    }

    /// No decoder will fetch what the prefiller holds, or will hold: it is told, because only its lease would
    /// end it otherwise.
    ///
    /// An engine that has the path and knows the request by this id, as Baton's do, lets go at once. vLLM has the
    /// path only with `--tokens-only`, and calls the request `cmpl-<id>-0` or the like: there the notice comes to
    /// nothing, and the blocks stay until the connector's own time limit.
    void release() {
        if (holds && prefiller != null) {
            holds = false;
            sendAbort(prefiller);
        }
    }

    private void end(End how) {
        over = true;
        stopWaiting();
        try {
            request.ended(this, how);
        } finally {
            letGo(); // after the next try has got hold of an engine that both need
        }
    }

    private void stopWaiting() {
        if (expectation != null) {
            expectation.close();
        }
        if (announcementTimer != null) {
            announcementTimer.run();
            announcementTimer = null; // an announcement that is queued already finds nobody waiting
        }
    }

    private void guarded(Runnable step) {
        try {
            step.run();
        } catch (RuntimeException | Error e) {
            request.crashed(e);
        }
    }

    private HttpClientRequest call(
            Upstream engine, String path, Map<String, String> headers, byte[] body, Duration answer, Duration gap) {
        HttpHeaders all = ForwardedHeaders.toEngine(request.exchange(), id, router.config())
                .with(headers);
        return new HttpClientRequest("POST", engine.uri(path), all, body, answer, gap);
    }

    /* The prefill leg. */

    private void prefill() {
        Upstream engine = prefiller;
        Handoff between = handoff;
        if (engine == null || between == null) {
            throw new IllegalStateException("there is no prefiller");
        }
        between.announcedAs()
                .ifPresent(name -> expectation = router.announcements()
                        .expect(
                                name,
                                between.numAnnouncements(),
                                () -> request.exchange().execute(() -> guarded(this::announced))));
        Duration deadline = router.config().deadlines().prefill();
        GenerationRequest legs = request.legs();
        holds = true;
        prefillLeg = Leg.start(
                router.client(),
                engine,
                call(
                        engine,
                        between.prefillPath(legs.endpoint().path()),
                        between.prefillHeaders(),
                        legs.prefillJson(between),
                        deadline,
                        deadline),
                new WholeResponse(
                        DecoderAnswer.MAX_ANSWER_BYTES,
                        answer -> prefilled(engine, between, answer),
                        failure -> prefillFailed(engine, failure)),
                request::crashed);
    }

    /// Once prefill and second token are there, in either order, the way that they took is judged by them: the
    /// first token of a push may come long before its blocks.
    private void measure() {
        if (handoff != null
                && prefiller != null
                && prefilledNanos != NEVER
                && secondTokenNanos != NEVER
                && router.backend(prefiller, decoder).pushes()) {
            router.pushes()
                    .measured(
                            pair(prefiller, decoder),
                            handoff.order() == Handoff.Order.CONCURRENT,
                            request.legs().estimatedPromptTokens(),
                            (prefilledNanos - startNanos) / 1e6,
                            (firstTokenNanos - prefilledNanos) / 1e6,
                            (secondTokenNanos - prefilledNanos) / 1e6);
        }
    }

    private void noteTokens(long numTokens) {
        long now = System.nanoTime();
        if (firstTokenNanos == NEVER && numTokens > 0) {
            firstTokenNanos = now;
        }
        if (numTokens > 1) {
            secondTokenNanos = now;
            measure();
        }
    }

    /// Whether the answer of the prefiller decides nothing any more.
    private boolean prefillIsMoot() {
        prefillEnded = true;
        return over || stage == Stage.STREAM;
    }

    private void prefilled(Upstream engine, Handoff between, HttpClientResponse answer) {
        boolean moot = prefillIsMoot();
        switch (Verdict.of(answer.status())) {
            case ANSWERED -> {
                engine.succeeded();
                if (answer.status() < 400) {
                    request.prefilled(engine);
                    prefilledNanos = System.nanoTime();
                    measure();
                    if (!moot) {
                        handOff(engine, between, answer);
                    }
                } else {
                    holds = false;
                    refused(engine, moot, answer);
                }
            }
            case BUSY, UNEXPECTED ->
                prefillEnds(engine, moot, Verdict.of(answer.status()).word(), false);
            case FAILED -> {
                engine.broke("it answered " + answer.status());
                prefillEnds(engine, moot, Verdict.FAILED.word(), false);
            }
        }
    }

    /// What one engine says of the request, each would say; a client that has a part of its stream is not told.
    private void refused(Upstream engine, boolean moot, HttpClientResponse answer) {
        if (request.stream().isOpen()) {
            prefillEnds(engine, moot, "refused", false);
        } else if (!moot) {
            cancelDecode();
            end(new End.Answered(answer));
        }
    }

    private void handOff(Upstream engine, Handoff between, HttpClientResponse answer) {
        found = found(engine, between, answer);
        if (between.order() == Handoff.Order.CONCURRENT) {
            stage = Stage.DECODE;
            return;
        }
        // A prefiller whose answer lacks what it should have does not announce anything either.
        boolean isToBeAnnounced =
                between.announcedAs().isPresent() && (found.isPresent() || !between.handsOffInAnswers());
        if (isToBeAnnounced && !announced) {
            announcementTimer = request.exchange()
                    .executeAfter(router.config().deadlines().announcement(), () -> guarded(this::announcementLate));
        } else {
            decode();
        }
    }

    private Optional<JsonNode> found(Upstream engine, Handoff between, HttpClientResponse answer) {
        if (!between.readsAnswers()) {
            return Optional.empty();
        }
        try {
            JsonNode json = Json.parse(answer.body());
            Optional<JsonNode> params = between.found(json);
            params.flatMap(router.backend(engine, decoder)::endpoint).ifPresent(engine::listensAt);
            if (params.isPresent() || !between.handsOffInAnswers()) {
                engine.handedOff();
            } else if (json.at("/choices/0/finish_reason").asString("").equals("stop")) {
                router.metrics().handoffMissing("stopped"); // the first token was the last: nothing is handed over
            } else {
                router.metrics().handoffMissing("absent");
                engine.handedNothingOff("its answer has no " + Backend.KV_TRANSFER_PARAMS);
            }
            return params;
        } catch (Json.MalformedException e) {
            router.metrics().handoffMissing("not_json");
            engine.handedNothingOff("its answer is not JSON: " + e.getMessage());
            return Optional.empty();
        }
    }

    private void announced() {
        announced = true;
        if (!over && announcementTimer != null) {
            stopWaiting();
            decode();
        }
    }

    private void announcementLate() {
        if (!over && !announced) {
            stopWaiting();
            LOG.warn("request {}: {} did not announce its KV cache, {} prefills itself", id, prefiller, decoder);
            router.metrics().fellBack("not announced");
            decode();
        }
    }

    private void prefillFailed(Upstream engine, HttpException failure) {
        boolean moot = prefillIsMoot();
        if (over && failure.kind() == HttpException.Kind.CANCELLED) {
            return;
        }
        switch (failure.kind()) {
            case CONNECT -> engine.refused(failure);
            case CLOSED -> prefillClosed(engine, moot, failure);
            case TIMEOUT -> {
                engine.broke(failure);
                release();
            }
            case TOO_LARGE, PROTOCOL, CANCELLED, BIND -> {
                engine.broke(failure);
                if (prefillLeg != null) {
                    prefillLeg.cancel();
                }
            }
        }
        if (failure.kind() != HttpException.Kind.CLOSED) {
            prefillEnds(engine, moot, word(failure), false);
        }
    }

    /// Whether that says something of the engine is for the request to decide, which knows what came before.
    private void prefillClosed(Upstream engine, boolean moot, HttpException failure) {
        if (moot) {
            engine.broke(failure);
        }
        prefillEnds(engine, moot, word(failure), true);
    }

    private void prefillEnds(Upstream engine, boolean moot, String cause, boolean repeatable) {
        holds = false;
        router.metrics().legFailed(engine, cause);
        if (moot) {
            LOG.warn("request {}: {} failed after its decoder had begun: {}", id, engine, cause);
        } else {
            LOG.warn("request {}: prefill on {} failed: {}", id, engine.address(), cause);
            cancelDecode(); // it would wait for a KV cache that does not come
            end(new End.PrefillFailed(engine, cause, repeatable));
        }
    }

    private void cancelDecode() {
        over = true;
        if (decodeLeg != null) {
            decodeLeg.cancel();
        }
    }

    /* The decode leg. */

    private void decode() {
        if (handoff == null || handoff.order() != Handoff.Order.CONCURRENT) {
            stage = Stage.DECODE; // from here on the prefiller holds blocks
            if (decoder.state() == Upstream.State.DOWN && prefillEnded) {
                decodeFails("down", false, new IfNoneLeft.Own(RouterErrors.NO_DECODER));
                return;
            }
        }
        RouterDeadlines deadlines = router.config().deadlines();
        GenerationRequest legs = request.legs();
        boolean asksForIds = decoder.streamsWithoutComments() && request.wantsTokenIds();
        ObjectNode members =
                handoff == null ? JsonNodeFactory.instance.objectNode() : handoff.decodeMembers(legs.tree(), found);
        if (asksForIds) {
            members = JsonNodeFactory.instance
                    .objectNode()
                    .put(PromptContinuation.TOKEN_IDS, true)
                    .setAll(members);
        }
        HttpClientRequest call = call(
                decoder,
                legs.endpoint().path(),
                handoff == null ? Map.of() : handoff.decodeHeaders(),
                legs.decodeJson(members),
                deadlines.answer(),
                deadlines.gap());
        HttpHeaders headers = call.headers().with(request.decodeHeaders());
        decodeLeg = Leg.start(
                router.client(),
                decoder,
                new HttpClientRequest(
                        call.method(), call.target(), headers, call.body(), deadlines.answer(), deadlines.gap()),
                new DecoderAnswer(
                        decoder,
                        request.progress(),
                        request.telling(asksForIds),
                        request.decodeHeaders().containsKey(Continuation.HEADER),
                        new Answer()),
                request::crashed);
    }

    private final class Answer implements DecoderAnswer.Sink {
        @Override
        public void events(HttpHeaders head, byte[] events) {
            Leg leg = decodeLeg;
            if (over || leg == null) {
                return;
            }
            if (stage != Stage.STREAM) {
                stage = Stage.STREAM;
                holds = false;
                decoder.succeeded();
                request.firstBytes(decoder);
                letGo();
            }
            if (secondTokenNanos == NEVER) {
                noteTokens(request.progress().numTokens());
            }
            request.stream().write(events, head, leg);
        }

        @Override
        public void streamed() {
            if (!over) {
                end(new End.Streamed());
            }
        }

        @Override
        public void begunAnew() {
            if (!over) {
                cancelDecode();
                decodeFails("does not go on", false, new IfNoneLeft.Own(RouterErrors.STREAM_BROKE));
            }
        }

        @Override
        public void erred(HttpHeaders head, byte[] errorEvent) {
            if (!over) {
                cancelDecode();
                if (!EngineErrors.isOfTheRequest(errorEvent)) {
                    decoder.broke("it answered with an error event");
                }
                decodeFails("error event", false, new IfNoneLeft.Event(head, errorEvent));
            }
        }

        @Override
        public void whole(HttpClientResponse answer) {
            if (over) {
                return;
            }
            Verdict verdict = Verdict.of(answer.status());
            switch (verdict) {
                case ANSWERED, UNEXPECTED -> {
                    if (verdict == Verdict.ANSWERED) {
                        decoder.succeeded();
                    }
                    if (request.stream().isOpen()) {
                        decodeFails("refused", false, new IfNoneLeft.Answer(answer));
                    } else {
                        answered(answer);
                    }
                }
                case BUSY -> decodeFails(verdict.word(), false, new IfNoneLeft.Answer(answer));
                case FAILED -> {
                    decoder.broke("it answered " + answer.status());
                    decodeFails(verdict.word(), false, new IfNoneLeft.Answer(answer));
                }
            }
        }

        private void answered(HttpClientResponse answer) {
            if (answer.status() >= 400) {
                cancelPrefill();
                release();
            }
            holds = false;
            end(new End.Answered(answer));
        }

        @Override
        public void broke(HttpException failure) {
            if (over) {
                return;
            }
            boolean streaming = stage == Stage.STREAM;
            IfNoneLeft died = new IfNoneLeft.Own(streaming ? RouterErrors.STREAM_BROKE : RouterErrors.ENGINE_DIED);
            switch (failure.kind()) {
                case CONNECT -> {
                    decoder.refused(failure);
                    decodeFails(word(failure), false, new IfNoneLeft.Own(RouterErrors.NO_DECODER));
                }
                case CLOSED -> {
                    if (streaming) {
                        decoder.broke(failure);
                    }
                    decodeFails(word(failure), !streaming, died);
                }
                case TIMEOUT -> {
                    decoder.broke(failure);
                    decodeLate(streaming, died);
                }
                case TOO_LARGE, PROTOCOL, CANCELLED, BIND -> {
                    decoder.broke(failure);
                    router.metrics().legFailed(decoder, word(failure));
                    cancel();
                    end(new End.Hopeless(RouterErrors.ANSWER_UNUSABLE));
                }
            }
        }

        /// Who has waited for an answer until its deadline is not made to wait so long again.
        private void decodeLate(boolean streaming, IfNoneLeft died) {
            if (streaming) {
                decodeFails("timeout", false, died);
            } else {
                router.metrics().legFailed(decoder, "timeout");
                cancel();
                end(new End.Hopeless(RouterErrors.ANSWER_LATE));
            }
        }
    }

    private void decodeFails(String cause, boolean repeatable, IfNoneLeft ifNoneLeft) {
        if (!cause.equals("down")) {
            router.metrics().legFailed(decoder, cause);
        }
        LOG.warn("request {}: {} failed: {}", id, decoder, cause);
        cancelPrefill();
        end(new End.DecodeFailed(decoder, cause, repeatable, ifNoneLeft));
    }

    private void cancelPrefill() {
        over = true;
        if (prefillLeg != null && !prefillEnded) {
            prefillLeg.cancel();
        }
    }

    private void sendAbort(Upstream engine) {
        HttpClientRequest notice = new HttpClientRequest(
                "POST",
                engine.uri(ABORT_PATH),
                ForwardedHeaders.toEngine(request.exchange(), id, router.config()),
                Json.bytes(Map.of("request_ids", List.of(id))),
                router.config().deadlines().abortNotice(),
                router.config().deadlines().abortNotice());
        router.client()
                .send(
                        notice,
                        new WholeResponse(
                                DecoderAnswer.MAX_ANSWER_BYTES,
                                answer -> LOG.debug("request {}: {} told of the abort", id, engine),
                                failure -> LOG.debug("request {}: {} not told of the abort", id, engine)));
    }

    private static String word(HttpException failure) {
        return failure.kind().name().toLowerCase(java.util.Locale.ROOT);
    }
}
