package dev.baton.router;

import dev.baton.discovery.EngineRole;
import dev.baton.http.ApiKey;
import dev.baton.http.ApiKeys;
import dev.baton.metrics.Metrics;
import dev.baton.router.policy.KvTransferWay;
import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.Histogram;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.function.ToDoubleFunction;
import java.util.function.ToLongFunction;

/// What the router counts, as Prometheus text. Thread-safe.
final class RouterMetrics {
    /// vLLM's buckets of `vllm:time_to_first_token_seconds`.
    private static final double[] TTFT_BUCKETS = {
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560
    };

    private static final List<String> ENGINE_LABELS = List.of("role", "engine");

    private final Metrics metrics = new Metrics(Map.of());
    private final AtomicInteger inFlight = new AtomicInteger();

    private final Counter requests = metrics.counter(
            "baton_router_requests",
            "Generation requests ended, by endpoint, route and outcome (an HTTP status, stream_error or aborted).",
            "endpoint",
            "route",
            "outcome");

    private final Counter fallbacks = metrics.counter(
            "baton_router_prefill_fallbacks",
            "Requests that a decoder prefilled itself although they could have been handed off.",
            "cause");

    private final Counter handoffsMissing = metrics.counter(
            "baton_router_handoffs_missing",
            "Prefills whose answer does not say where the KV cache is, by reason (absent, not_json, stopped).",
            "reason");

    private final Counter handoffs = metrics.counter(
            "baton_router_handoffs",
            "Hand-offs begun between engines that can do it in two ways, by the way taken (pull, push).",
            "transfer");

    private final Counter legFailures =
            metrics.counter("baton_router_leg_failures", "Legs that failed, by cause.", "role", "cause");

    private final Counter aborts = metrics.counter(
            "baton_router_aborts", "Requests whose client left before the answer was complete, by stage.", "stage");

    private final Counter migrations = metrics.counter(
            "baton_router_stream_migrations",
            "Streams that broke off before their end, by what became of them (continued on another decoder, complete"
                    + " but for their last line, broken off).",
            "outcome");

    private final Histogram ttft = metrics.histogram(
            "baton_router_time_to_first_token_seconds",
            "From a request's arrival to a prefiller's answer, or to a decoder's first bytes of content.",
            ENGINE_LABELS,
            TTFT_BUCKETS);

    private final FleetMetrics fleet;

    /// @param fleet the engines' own
    RouterMetrics(FleetMetrics fleet) {
        this.fleet = fleet;
        metrics.gauge("baton_router_requests_in_flight", "Generation requests in flight.", inFlight::get);
        metrics.gauge(
                "baton_router_engine_series_dropped",
                "Series of the engines' own metrics that were too many to be summed.",
                fleet::droppedSeries);
    }

    /// Adds what is believed of the engines; called once.
    void watch(EnginePool pool) {
        metrics.gauge(
                "baton_router_engine_up",
                "1 if requests are sent to the engine, 0 if it is down.",
                ENGINE_LABELS,
                byEngine(pool, engine -> engine.state() == Upstream.State.DOWN ? 0 : 1));
        metrics.gauge(
                "baton_router_engine_requests_in_flight",
                "Legs in flight on the engine.",
                ENGINE_LABELS,
                byEngine(pool, Upstream::inFlight));
        metrics.gauge(
                "baton_router_engine_circuit_open",
                "1 if the engine's circuit is open, 0.5 if it lets one trial through, 0 if it is closed.",
                ENGINE_LABELS,
                byEngine(pool, engine -> switch (engine.circuit()) {
                    case CLOSED -> 0;
                    case HALF_OPEN -> 0.5;
                    case OPEN -> 1;
                }));
        metrics.gauge(
                "baton_router_engine_draining",
                "1 if the engine gets no new requests because it is to leave.",
                ENGINE_LABELS,
                byEngine(pool, engine -> engine.draining() ? 1 : 0));
        metrics.gauge(
                "baton_router_engine_weight",
                "The engine's share of the traffic against others of its role, rising while it is started slowly.",
                ENGINE_LABELS,
                byEngine(pool, Upstream::weight));
        metrics.gauge(
                "baton_router_engine_hangs",
                "Times that the engine was taken as hung since it joined.",
                ENGINE_LABELS,
                byEngine(pool, Upstream::hangs));
    }

    /// The engines' own.
    FleetMetrics fleet() {
        return fleet;
    }

    /// Drops what is known of an engine that has left.
    void forget(Upstream engine) {
        for (EngineRole role : EngineRole.values()) {
            ttft.remove(role.word(), engine.address().toString());
        }
    }

    /// Adds what each API key is used for.
    void addKeys(ApiKeys keys) {
        if (!keys.areRequired()) {
            return;
        }
        metrics.counter(
                "baton_router_api_key_requests",
                "Requests that were admitted, by the key's name.",
                "key",
                byKey(keys, ApiKey::requests));
        metrics.counter(
                "baton_router_api_key_over_rate",
                "Requests that were refused because their key had too many, or too many tokens, in a minute.",
                "key",
                byKey(keys, ApiKey::overRate));
        metrics.counter(
                "baton_router_api_key_over_concurrency",
                "Requests that were refused because their key had too many in flight.",
                "key",
                byKey(keys, ApiKey::overConcurrency));
    }

    /// Adds what waits for its first token, and what was refused because too much did.
    void addShedder(LoadShedder shedder) {
        metrics.gauge("baton_router_requests_waiting", "Requests that wait for their first token.", shedder::waiting);
        metrics.gauge(
                "baton_router_requests_waiting_limit",
                "Requests that may wait, by what the fleet does a second and --max-queue-wait.",
                shedder::room);
        metrics.counter(
                "baton_router_requests_shed", "Requests that were refused because too many waited.", shedder::shed);
    }

    private static Supplier<Map<String, Long>> byKey(ApiKeys keys, ToLongFunction<ApiKey> value) {
        return () -> {
            Map<String, Long> values = new LinkedHashMap<>();
            keys.all().forEach(key -> values.put(key.name(), value.applyAsLong(key)));
            return values;
        };
    }

    private static Supplier<Map<List<String>, Double>> byEngine(EnginePool pool, ToDoubleFunction<Upstream> value) {
        return () -> {
            Map<List<String>, Double> rows = new LinkedHashMap<>();
            for (Upstream engine : pool.all()) {
                rows.put(List.of(engine.role().word(), engine.address().toString()), value.applyAsDouble(engine));
            }
            return rows;
        };
    }

    /// Counts a request as in flight.
    ///
    /// @return false, without counting it, if `limit` are in flight already
    boolean requestStarted(int limit) {
        if (inFlight.incrementAndGet() > limit) {
            inFlight.decrementAndGet();
            return false;
        }
        return true;
    }

    void requestEnded(Endpoint endpoint, String route, String outcome) {
        inFlight.decrementAndGet();
        requests.labelValues(endpoint.path(), route, outcome).inc();
    }

    /// A request that was answered before it was counted as in flight.
    void requestRefused(Endpoint endpoint, int status) {
        requests.labelValues(endpoint.path(), "none", Integer.toString(status)).inc();
    }

    int inFlight() {
        return inFlight.get();
    }

    void fellBack(String cause) {
        fallbacks.labelValues(cause).inc();
    }

    void handoffMissing(String reason) {
        handoffsMissing.labelValues(reason).inc();
    }

    void handedOff(boolean pushed) {
        handoffs.labelValues((pushed ? KvTransferWay.PUSH : KvTransferWay.PULL).word())
                .inc();
    }

    void legFailed(Upstream engine, String cause) {
        legFailures.labelValues(engine.role().word(), cause).inc();
    }

    void migrated(String outcome) {
        migrations.labelValues(outcome).inc();
    }

    void aborted(String stage) {
        aborts.labelValues(stage).inc();
    }

    void firstToken(Upstream engine, double seconds) {
        ttft.labelValues(engine.role().word(), engine.address().toString()).observe(seconds);
    }

    /// All of it, of the type [Metrics#CONTENT_TYPE].
    ///
    /// @param withEngines whether the engines' own metrics follow, summed; that is not for an event loop
    byte[] text(boolean withEngines) {
        byte[] engines = withEngines ? fleet.text() : new byte[0]; // first: it says what it dropped
        byte[] own = metrics.text();
        byte[] all = Arrays.copyOf(own, own.length + engines.length);
        System.arraycopy(engines, 0, all, own.length, engines.length);
        return all;
    }
}
