package dev.baton.serving;

import dev.baton.http.HttpExchange;
import dev.baton.metrics.Metrics;
import io.prometheus.metrics.core.datapoints.CounterDataPoint;
import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.core.metrics.Summary;
import java.util.List;
import java.util.Set;

/// Counts and times HTTP requests under the names that vLLM's server gives them. Thread-safe.
final class HttpMetrics {
    /// Not counted, as in vLLM: they are asked for all the time.
    private static final Set<String> EXCLUDED = Set.of("/metrics", "/health", "/load", "/ping", "/version");

    /// RFC 9110's and PATCH. Others are counted together: each would be a series of its own, and a client may
    /// think of any number of them.
    private static final Set<String> METHODS =
            Set.of("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH");

    private static final double NANOS = 1e9;
    private static final double[] FINE_SECONDS = {
        .01, .025, .05, .075, .1, .25, .5, .75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60
    };

    private final Counter requests;
    private final Histogram duration;
    private final Histogram fineDuration;
    private final Summary requestBytes;
    private final Summary responseBytes;

    HttpMetrics(Metrics metrics) {
        requests = metrics.counter(
                "http_requests", "Requests by method, status and handler.", "handler", "method", "status");
        duration = metrics.histogram(
                "http_request_duration_seconds",
                "Time to answer, by handler.",
                List.of("handler", "method"),
                .1,
                .5,
                1);
        fineDuration = metrics.histogram(
                "http_request_duration_highr_seconds", "Time to answer, all handlers together.", FINE_SECONDS);
        requestBytes = metrics.summary("http_request_size_bytes", "Bytes of requests' bodies.", "handler");
        responseBytes = metrics.summary("http_response_size_bytes", "Bytes of answers' bodies.", "handler");
    }

    /// Follows a request to the end of its answer.
    ///
    /// @param known whether its path is one of the server's: others are counted together
    void follow(HttpExchange exchange, boolean known) {
        String handler = known ? exchange.path() : "none";
        if (EXCLUDED.contains(handler)) {
            return;
        }
        String method = METHODS.contains(exchange.method()) ? exchange.method() : "other";
        exchange.onEnd(ended -> {
            double seconds = (System.nanoTime() - exchange.arrivalNanos()) / NANOS;
            CounterDataPoint count = requests.labelValues(handler, method, ended.status() / 100 + "xx");
            count.inc();
            duration.labelValues(handler, method).observe(seconds);
            fineDuration.observe(seconds);
            requestBytes.labelValues(handler).observe(exchange.body().length);
            responseBytes.labelValues(handler).observe((double) ended.bodyBytes());
        });
    }
}
