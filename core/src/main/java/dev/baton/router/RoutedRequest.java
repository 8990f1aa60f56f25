package dev.baton.router;

import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpExchange;
import dev.baton.http.HttpHeaders;
import dev.baton.http.HttpResponseListener;
import dev.baton.http.HttpStream;
import dev.baton.http.Json;
import dev.baton.http.WholeResponse;
import dev.baton.openai.ApiError;
import dev.baton.openai.SseWriter;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Handoff;
import dev.baton.router.backend.HandoffException;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.Route;
import dev.baton.router.policy.RouteOutcome;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// One generation request on its way: prefill leg, decode leg, the answer, and what happens when one of them
/// breaks.
///
/// Nothing is sent to the client before a decoder's answer is known to have content, so until then a broken leg is
/// repeated elsewhere, each engine once (once more if only a kept connection had died). After that the stream can
/// only end with an error event; `[DONE]` then never comes.
///
/// Everything here runs on the event loop of its exchange.
final class RoutedRequest {
    private static final Logger LOG = LoggerFactory.getLogger(RoutedRequest.class);
    private static final Logger ACCESS = LoggerFactory.getLogger("dev.baton.router.access");

    private static final int MAX_ANSWER_BYTES = 64 << 20;
    private static final int MAX_EVENT_BYTES = 1 << 20;
    private static final String ABORT_PATH = "/abort_requests";
    private static final String STREAM_ERROR = "stream_error";

    /// How far the request is.
    private enum Stage {
        PREFILL,
        DECODE,
        STREAM,
        ENDED
    }

    private final RouterContext router;
    private final HttpExchange exchange;
    private final GenerationRequest request;
    private final RequestId id;
    private final long startNanos;
    private final Set<Upstream> tried = new HashSet<>();

    private Stage stage = Stage.PREFILL;
    private boolean wantsHandoff;
    private @Nullable Handoff handoff;
    private Optional<JsonNode> found = Optional.empty();
    private String fallbackCause = "no prefiller is up";
    private @Nullable Route<Upstream> taken;
    private double prefillMillis = Double.NaN;
    private double firstTokenMillis = Double.NaN;
    private @Nullable Upstream prefiller;
    private @Nullable Upstream decoder;
    private @Nullable Upstream repeatedOn;
    private @Nullable Leg leg;
    private @Nullable HttpStream stream;

    RoutedRequest(
            RouterContext router, HttpExchange exchange, GenerationRequest request, RequestId id, long startNanos) {
        this.router = router;
        this.exchange = exchange;
        this.request = request;
        this.id = id;
        this.startNanos = startNanos;
    }

    /// Begins; the exchange is answered in any case.
    void start() {
        guarded(() -> {
            exchange.onGone(gone -> guarded(this::abort));
            wantsHandoff = !router.pool().prefillers().isEmpty()
                    && request.handoffObstacle().isEmpty();
            route();
        });
    }

    /// Every way in from outside but a leg's, which has its own guard.
    private void guarded(Runnable step) {
        try {
            step.run();
        } catch (RuntimeException | Error e) {
            crashed(e);
        }
    }

    /// A bug of the router's own must not leave a client waiting, or anything behind on the engines.
    private void crashed(Throwable cause) {
        LOG.error("request {} met a bug of the router", id.upstream(), cause);
        if (stage == Stage.ENDED) {
            return;
        }
        Stage reached = stage;
        HttpStream started = stream;
        end(started == null ? Integer.toString(RouterErrors.INTERNAL.status()) : STREAM_ERROR);
        if (started == null) {
            exchange.respond(
                    RouterErrors.INTERNAL.status(),
                    RouterErrors.headers(RouterErrors.INTERNAL, id),
                    RouterErrors.INTERNAL.toJson());
        } else {
            started.write(SseWriter.error(RouterErrors.INTERNAL));
            started.end();
        }
        cancelLeg();
        if (reached != Stage.STREAM && prefiller != null) {
            sendAbort(prefiller);
        }
    }

    private void route() {
        if (stage == Stage.ENDED) {
            return;
        }
        List<Upstream> prefillers = wantsHandoff ? router.pool().availablePrefillers(tried) : List.of();
        Optional<Decision<Upstream>> decision =
                router.policy().route(request.facts(), prefillers, router.pool().availableDecoders(tried));
        if (decision.isEmpty()) {
            fail(RouterErrors.NO_DECODER);
            return;
        }
        Route<Upstream> route = decision.get().route();
        taken = route;
        switch (route) {
            case Route.Disaggregated<Upstream>(Upstream chosenPrefiller, Upstream chosenDecoder) ->
                prefill(chosenPrefiller, chosenDecoder);
            case Route.Direct<Upstream>(Upstream chosenDecoder) -> {
                if (wantsHandoff && prefillers.isEmpty()) {
                    router.metrics().fellBack(fallbackCause);
                    LOG.warn("request {}: {} prefills itself: {}", id.upstream(), chosenDecoder, fallbackCause);
                }
                decode(chosenDecoder);
            }
            case Route.Aggregated<Upstream>(Upstream engine) -> decode(engine);
        }
    }

    private void prefill(Upstream chosenPrefiller, Upstream chosenDecoder) {
        Handoff between;
        try {
            between = router.config().backend().handoff(chosenPrefiller.info(), chosenDecoder.info(), id.upstream());
        } catch (HandoffException e) {
            LOG.warn("request {}: {}", id.upstream(), e.getMessage());
            prefillElsewhere(chosenPrefiller, "not_described");
            return;
        }
        handoff = between;
        prefiller = chosenPrefiller;
        decoder = chosenDecoder;
        Duration deadline = router.config().deadlines().prefill();
        leg = Leg.start(
                router.client(),
                chosenPrefiller,
                call(
                        chosenPrefiller,
                        between.prefillPath(request.endpoint().path()),
                        ForwardedHeaders.toEngine(exchange, between.requestId()).with(between.prefillHeaders()),
                        request.prefillJson(between),
                        deadline,
                        deadline),
                new WholeResponse(
                        MAX_ANSWER_BYTES,
                        answer -> prefilled(chosenPrefiller, chosenDecoder, answer),
                        failure -> prefillFailed(chosenPrefiller, chosenDecoder, failure)),
                this::crashed);
    }

    private static HttpClientRequest call(
            Upstream engine, String path, HttpHeaders headers, byte[] body, Duration answer, Duration gap) {
        return new HttpClientRequest("POST", engine.uri(path), headers, body, answer, gap);
    }

    private void prefilled(Upstream engine, Upstream next, HttpClientResponse answer) {
        if (stage == Stage.ENDED) {
            return;
        }
        switch (Verdict.of(answer.status())) {
            case ANSWERED -> {
                engine.succeeded();
                if (answer.status() >= 400) {
                    passOn(answer);
                } else {
                    handOff(engine, next, answer);
                }
            }
            case BUSY -> prefillElsewhere(engine, "busy");
            case FAILED -> {
                engine.broke("it answered " + answer.status());
                prefillElsewhere(engine, "status");
            }
            case UNEXPECTED -> prefillElsewhere(engine, "status");
        }
    }

    private void handOff(Upstream engine, Upstream next, HttpClientResponse answer) {
        stage = Stage.DECODE; // from here on the prefiller holds blocks
        prefillMillis = millisSinceStart();
        router.ttft().add(engine.index(), prefillMillis);
        router.metrics().firstToken(engine, prefillMillis / 1e3);
        router.policy().prefilled(request.facts());
        found = found(engine, answer);
        if (next.state() == Upstream.State.DOWN) {
            decodeElsewhere(RouterErrors.NO_DECODER);
        } else {
            decode(next);
        }
    }

    private Optional<JsonNode> found(Upstream engine, HttpClientResponse answer) {
        Handoff between = handoff;
        if (between == null || !between.handsOffInAnswers()) {
            return Optional.empty();
        }
        try {
            JsonNode json = Json.parse(answer.body());
            Optional<JsonNode> params = between.found(json);
            if (params.isPresent()) {
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

    private void prefillFailed(Upstream engine, Upstream next, HttpException failure) {
        if (stage == Stage.ENDED) {
            return;
        }
        switch (failure.kind()) {
            case CONNECT -> engine.refused(failure);
            case CLOSED -> {
                if (mayRepeatOn(engine)) {
                    router.metrics().legFailed(engine, word(failure));
                    prefill(engine, next);
                    return;
                }
                engine.broke(failure);
            }
            case TIMEOUT -> {
                engine.broke(failure);
                sendAbort(engine);
            }
            case TOO_LARGE, PROTOCOL, CANCELLED, BIND -> {
                engine.broke(failure);
                cancelLeg();
            }
        }
        prefillElsewhere(engine, word(failure));
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

    private void prefillElsewhere(Upstream failed, String cause) {
        LOG.warn("request {}: prefill on {} failed: {}", id.upstream(), failed.address(), cause);
        router.metrics().legFailed(failed, cause);
        tried.add(failed);
        prefiller = null;
        handoff = null;
        fallbackCause = cause;
        route();
    }

    private void decode(Upstream chosen) {
        stage = Stage.DECODE;
        decoder = chosen;
        RouterDeadlines deadlines = router.config().deadlines();
        Handoff between = handoff;
        HttpHeaders headers =
                ForwardedHeaders.toEngine(exchange, between == null ? id.upstream() : between.requestId());
        HttpClientRequest call = call(
                chosen,
                request.endpoint().path(),
                between == null ? headers : headers.with(between.decodeHeaders()),
                between == null ? request.json() : request.decodeJson(between.decodeMembers(found)),
                deadlines.answer(),
                deadlines.gap());
        leg = Leg.start(router.client(), chosen, call, new DecoderAnswer(chosen), this::crashed);
    }

    /// The decoder's answer: events are sent on as they come, anything else once it is whole.
    private final class DecoderAnswer implements HttpResponseListener {
        private final Upstream engine;
        private final SseFrames frames = new SseFrames(MAX_EVENT_BYTES);
        private @Nullable WholeResponse whole;
        private HttpHeaders headers = HttpHeaders.none();

        private DecoderAnswer(Upstream engine) {
            this.engine = engine;
        }

        @Override
        public void onHead(int status, HttpHeaders headers) {
            this.headers = headers;
            boolean events = headers.first("content-type")
                    .filter(type -> type.startsWith("text/event-stream"))
                    .isPresent();
            if (status != 200 || !events) {
                whole = new WholeResponse(
                        MAX_ANSWER_BYTES, answer -> decoded(engine, answer), failure -> decodeFailed(engine, failure));
                whole.onHead(status, headers);
            }
        }

        @Override
        public void onBytes(byte[] bytes) {
            if (whole != null) {
                whole.onBytes(bytes);
            } else if (stage != Stage.ENDED) {
                send(frames.accept(bytes));
            }
        }

        private void send(byte[] events) {
            if (events.length == 0) {
                return;
            }
            HttpStream started = stream;
            if (started == null) {
                started = startStream();
            }
            if (!started.write(events) && leg != null) {
                leg.pause();
            }
        }

        private HttpStream startStream() {
            stage = Stage.STREAM;
            if (!frames.failed()) {
                engine.succeeded();
                firstTokenMillis = millisSinceStart();
                router.metrics().firstToken(engine, firstTokenMillis / 1e3);
                router.policy().firstToken(request.facts());
            }
            HttpStream started = exchange.startStream(200, ForwardedHeaders.toClient(headers, id));
            stream = started;
            started.onDrain(() -> guarded(() -> {
                if (leg != null && stage != Stage.ENDED) {
                    leg.resume();
                }
            }));
            return started;
        }

        @Override
        public void onEnd() {
            if (whole != null) {
                whole.onEnd();
            } else if (stage != Stage.ENDED) {
                send(frames.finish());
                if (frames.failed()) {
                    endStream(STREAM_ERROR);
                } else if (frames.done()) {
                    endStream("200");
                } else {
                    decodeFailed(
                            engine,
                            new HttpException(HttpException.Kind.CLOSED, engine + " ended its stream without [DONE]"));
                }
            }
        }

        private void endStream(String outcome) {
            if (stream != null) {
                stream.end();
            }
            end(outcome);
        }

        @Override
        public void onFailure(HttpException failure) {
            if (whole != null) {
                whole.onFailure(failure);
            } else if (frames.failed() && stage != Stage.ENDED) { // the client knows already
                endStream(STREAM_ERROR);
            } else {
                decodeFailed(engine, failure);
            }
        }
    }

    private void decoded(Upstream engine, HttpClientResponse answer) {
        if (stage == Stage.ENDED) {
            return;
        }
        switch (Verdict.of(answer.status())) {
            case ANSWERED -> {
                engine.succeeded();
                passOn(answer);
            }
            case BUSY -> decodeElsewhere(engine, "busy", answer);
            case FAILED -> {
                engine.broke("it answered " + answer.status());
                decodeElsewhere(engine, "status", answer);
            }
            case UNEXPECTED -> passOn(answer);
        }
    }

    /// Where no other decoder is left, the client gets the last one's answer.
    private void decodeElsewhere(Upstream failed, String cause, HttpClientResponse answer) {
        tried.add(failed);
        Optional<Upstream> other = otherDecoder();
        if (other.isPresent()) {
            router.metrics().legFailed(failed, cause);
            decode(other.get());
        } else {
            passOn(answer);
        }
    }

    private void decodeFailed(Upstream engine, HttpException failure) {
        if (stage == Stage.ENDED) {
            return;
        }
        HttpStream started = stream;
        if (started != null) {
            engine.broke(failure);
            LOG.warn("request {}: the stream of {} broke: {}", id.upstream(), engine, failure.getMessage());
            started.write(SseWriter.error(RouterErrors.STREAM_BROKE));
            started.end();
            end(STREAM_ERROR);
            return;
        }
        router.metrics().legFailed(engine, word(failure));
        ApiError ifNoneLeft = RouterErrors.ENGINE_DIED;
        switch (failure.kind()) {
            case CONNECT -> {
                engine.refused(failure);
                ifNoneLeft = RouterErrors.NO_DECODER;
            }
            case CLOSED -> {
                if (mayRepeatOn(engine)) {
                    decode(engine);
                    return;
                }
                engine.broke(failure);
            }
            case TIMEOUT -> {
                engine.broke(failure);
                fail(RouterErrors.ANSWER_LATE);
                return;
            }
            case TOO_LARGE, PROTOCOL, CANCELLED, BIND -> {
                engine.broke(failure);
                cancelLeg();
                fail(RouterErrors.ANSWER_UNUSABLE);
                return;
            }
        }
        LOG.warn("request {}: {} failed: {}", id.upstream(), engine, failure.getMessage());
        tried.add(engine);
        decodeElsewhere(ifNoneLeft);
    }

    /// The hand-off stays good for another decoder as long as the prefiller's lease lasts.
    private void decodeElsewhere(ApiError ifNoneLeft) {
        otherDecoder().ifPresentOrElse(this::decode, () -> fail(ifNoneLeft));
    }

    private Optional<Upstream> otherDecoder() {
        return router.policy()
                .route(request.facts(), List.of(), router.pool().availableDecoders(tried))
                .map(decision -> decision.route().decoder());
    }

    /// An engine's own answer, as it is.
    private void passOn(HttpClientResponse answer) {
        if (answer.status() >= 400) {
            releasePrefill();
        }
        exchange.respond(answer.status(), ForwardedHeaders.toClient(answer.headers(), id), answer.body());
        end(Integer.toString(answer.status()));
    }

    private void fail(ApiError error) {
        releasePrefill();
        exchange.respond(error.status(), RouterErrors.headers(error, id), error.toJson());
        end(Integer.toString(error.status()));
    }

    /// The client is gone. Closing the leg aborts it on its engine; a prefill that has ended is told, because only
    /// its lease would end it otherwise.
    private void abort() {
        if (stage == Stage.ENDED) {
            return;
        }
        Stage reached = stage;
        router.metrics().aborted(reached.name().toLowerCase(Locale.ROOT));
        end("aborted");
        cancelLeg();
        if (reached != Stage.STREAM && prefiller != null) {
            sendAbort(prefiller);
        }
    }

    private void cancelLeg() {
        if (leg != null) {
            leg.cancel();
        }
    }

    /// No decoder will fetch what the prefiller holds.
    private void releasePrefill() {
        if (prefiller != null && stage == Stage.DECODE) {
            sendAbort(prefiller);
        }
    }

    private void sendAbort(Upstream engine) {
        HttpClientRequest notice = new HttpClientRequest(
                "POST",
                engine.uri(ABORT_PATH),
                ForwardedHeaders.toEngine(exchange, id.upstream()),
                Json.bytes(Map.of("request_ids", List.of(handoff == null ? id.upstream() : handoff.requestId()))),
                router.config().deadlines().abortNotice(),
                router.config().deadlines().abortNotice());
        router.client()
                .send(
                        notice,
                        new WholeResponse(
                                MAX_ANSWER_BYTES,
                                answer -> LOG.debug("request {}: {} told of the abort", id.upstream(), engine),
                                failure -> LOG.debug("request {}: {} not told of the abort", id.upstream(), engine)));
    }

    private void end(String outcome) {
        stage = Stage.ENDED;
        String route = decoder == null ? "none" : prefiller == null ? "direct" : "disaggregated";
        router.metrics().requestEnded(request.endpoint(), route, outcome);
        Route<Upstream> last = taken;
        if (last != null) {
            router.policy()
                    .ended(
                            request.facts(),
                            new RouteOutcome(
                                    last,
                                    outcome.equals("200"),
                                    prefillMillis,
                                    firstTokenMillis,
                                    millisSinceStart(),
                                    -1,
                                    -1,
                                    -1));
        }
        if (router.config().accessLog()) {
            ACCESS.info(
                    "{} {} {} {} ms id={} prefiller={} decoder={}",
                    exchange.remoteAddress(),
                    request.endpoint().path(),
                    outcome,
                    Math.round(millisSinceStart()),
                    id.upstream(),
                    prefiller == null ? "-" : prefiller.address(),
                    decoder == null ? "-" : decoder.address());
        }
    }

    private double millisSinceStart() {
        return (System.nanoTime() - startNanos) / 1e6;
    }

    private static String word(HttpException failure) {
        return failure.kind().name().toLowerCase(Locale.ROOT);
    }
}
