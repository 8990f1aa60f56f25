package dev.baton.router;

import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.atomic.AtomicInteger;

/// What the router counts, as Prometheus text. Thread-safe.
final class RouterMetrics {
    /// vLLM's buckets of `vllm:time_to_first_token_seconds`.
    private static final double[] TTFT_BUCKETS = {
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560
    };

    private final PrometheusRegistry registry = new PrometheusRegistry();
    private final AtomicInteger inFlight = new AtomicInteger();

    private final Counter requests = Counter.builder()
            .name("baton_router_requests")
            .help(
                    "Generation requests ended, by endpoint, route and outcome (an HTTP status, stream_error or aborted).")
            .labelNames("endpoint", "route", "outcome")
            .register(registry);

    private final Counter fallbacks = Counter.builder()
            .name("baton_router_prefill_fallbacks")
            .help("Requests that a decoder prefilled itself although they could have been handed off.")
            .labelNames("cause")
            .register(registry);

    private final Counter handoffsMissing = Counter.builder()
            .name("baton_router_handoffs_missing")
            .help("Prefills whose answer does not say where the KV cache is, by reason (absent, not_json, stopped).")
            .labelNames("reason")
            .register(registry);

    private final Counter legFailures = Counter.builder()
            .name("baton_router_leg_failures")
            .help("Legs that failed before anything was sent to the client, by cause.")
            .labelNames("role", "cause")
            .register(registry);

    private final Counter aborts = Counter.builder()
            .name("baton_router_aborts")
            .help("Requests whose client left before the answer was complete, by stage.")
            .labelNames("stage")
            .register(registry);

    private final Histogram ttft = Histogram.builder()
            .name("baton_router_time_to_first_token_seconds")
            .help("From a request's arrival to a prefiller's answer, or to a decoder's first bytes of content.")
            .classicOnly()
            .classicUpperBounds(TTFT_BUCKETS)
            .labelNames("role", "engine")
            .register(registry);

    RouterMetrics(EnginePool pool) {
        GaugeWithCallback.builder()
                .name("baton_router_requests_in_flight")
                .help("Generation requests in flight.")
                .callback(gauge -> gauge.call(inFlight.get()))
                .register(registry);
        GaugeWithCallback.builder()
                .name("baton_router_engine_up")
                .help("1 if requests are sent to the engine, 0 if it is down.")
                .labelNames("role", "engine")
                .callback(gauge -> pool.all()
                        .forEach(engine -> gauge.call(
                                engine.state() == Upstream.State.DOWN ? 0 : 1,
                                engine.role().word(),
                                engine.address().toString())))
                .register(registry);
        GaugeWithCallback.builder()
                .name("baton_router_engine_requests_in_flight")
                .help("Legs in flight on the engine.")
                .labelNames("role", "engine")
                .callback(gauge -> pool.all()
                        .forEach(engine -> gauge.call(
                                engine.inFlight(),
                                engine.role().word(),
                                engine.address().toString())))
                .register(registry);
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

    void legFailed(Upstream engine, String cause) {
        legFailures.labelValues(engine.role().word(), cause).inc();
    }

    void aborted(String stage) {
        aborts.labelValues(stage).inc();
    }

    void firstToken(Upstream engine, double seconds) {
        ttft.labelValues(engine.role().word(), engine.address().toString()).observe(seconds);
    }

    /// The text format 0.0.4.
    byte[] text() {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        try {
            PrometheusTextFormatWriter.create().write(text, registry.scrape());
        } catch (IOException e) {
            throw new UncheckedIOException("writing to memory failed", e);
        }
        return text.toByteArray();
    }
}
