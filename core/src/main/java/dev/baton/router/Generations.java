package dev.baton.router;

import dev.baton.http.ApiKey;
import dev.baton.http.HttpExchange;
import dev.baton.openai.ApiError;
import dev.baton.openai.ApiException;
import java.time.Duration;
import java.util.Optional;

/// The way in of generation requests: whether one may enter, and what it asks for; then it is a [RoutedRequest].
/// Thread-safe.
final class Generations {
    /// Bodies from this size on are parsed on a thread of their own, so that one long prompt does not hold up the
    /// streams.
    private static final int LARGE_BODY_BYTES = 256 << 10;

    private static final String SESSION_HEADER = "x-session-id";

    private final RouterContext context;
    private final LoadShedder shedder;
    private final Refusals refusals;

    Generations(RouterContext context, LoadShedder shedder) {
        this.context = context;
        this.shedder = shedder;
        this.refusals = new Refusals(context.accessLog());
    }

    /// Answers one, or begins to; at once or later.
    ///
    /// @param startNanos when it came, of `System.nanoTime`
    void generate(HttpExchange exchange, Endpoint endpoint, long startNanos) {
        RequestId id = RequestId.from(exchange.header(RequestId.HEADER));
        if (!hasJsonType(exchange)) {
            refuseGeneration(exchange, endpoint, id, ApiError.unsupportedMediaType());
            return;
        }
        String key = exchange.apiKey().map(ApiKey::name).orElse("");
        Optional<LoadShedder.Place> place = shedder.admit(key);
        if (place.isEmpty()) {
            refuseGeneration(exchange, endpoint, id, RouterErrors.shed(shedder.retryAfter()));
            return;
        }
        exchange.onAnswer(status -> answered(place.get(), status));
        exchange.onGone(gone -> place.get().leave());
        if (!context.metrics().requestStarted(context.config().maxInFlight())) {
            refuseGeneration(exchange, endpoint, id, RouterErrors.OVERLOADED);
        } else if (exchange.body().length < LARGE_BODY_BYTES) {
            parse(exchange, endpoint, id, place.get(), startNanos);
        } else {
            Thread.ofVirtual().name("baton-parse").start(() -> parse(exchange, endpoint, id, place.get(), startNanos));
        }
    }

    private static void answered(LoadShedder.Place place, int status) {
        if (status == 200) {
            place.served();
        } else {
            place.leave();
        }
    }

    private void parse(
            HttpExchange exchange, Endpoint endpoint, RequestId id, LoadShedder.Place place, long startNanos) {
        try {
            GenerationRequest request = GenerationRequest.parse(
                    endpoint, exchange.body(), exchange.header(SESSION_HEADER).orElse(""));
            refuseOtherModels(exchange, request);
            takeTokens(exchange, request);
            exchange.execute(() -> new RoutedRequest(context, exchange, request, id, place, startNanos).start());
        } catch (ApiException e) {
            context.metrics()
                    .requestEnded(endpoint, "none", Integer.toString(e.error().status()));
            // What is wrong with a body may repeat some of it.
            refusals.refuse(
                    exchange,
                    id,
                    e.error(),
                    e.error().status() == 400 ? "malformed body" : e.error().message());
        } catch (RuntimeException | Error e) {
            context.metrics().requestEnded(endpoint, "none", Integer.toString(RouterErrors.INTERNAL.status()));
            refusals.crashed(exchange, id, e);
        }
    }

    /// @throws ApiException 403 if the client's key is not for the request's model
    private static void refuseOtherModels(HttpExchange exchange, GenerationRequest request) {
        String model = request.tree().path("model").asString("");
        if (exchange.apiKey().filter(key -> !key.mayUse(model)).isPresent()) {
            throw new ApiException(RouterErrors.MODEL_NOT_ALLOWED);
        }
    }

    /// @throws ApiException 429 if the client's key has no tokens left for the request
    private static void takeTokens(HttpExchange exchange, GenerationRequest request) {
        if (exchange.apiKey().isEmpty()) {
            return;
        }
        ApiKey key = exchange.apiKey().get();
        Optional<Duration> wait = key.takeTokens(request.estimatedPromptTokens(), System.nanoTime());
        if (wait.isPresent()) {
            throw new ApiException(RouterErrors.tooManyTokens(key.tokensPerMinute(), wait.get()));
        }
    }

    static boolean hasJsonType(HttpExchange exchange) {
        return exchange.header("content-type")
                .map(type -> type.split(";", 2)[0].strip())
                .filter("application/json"::equalsIgnoreCase)
                .isPresent();
    }

    private void refuseGeneration(HttpExchange exchange, Endpoint endpoint, RequestId id, ApiError error) {
        context.metrics().requestRefused(endpoint, error.status());
        refusals.refuse(exchange, id, error);
    }
}
