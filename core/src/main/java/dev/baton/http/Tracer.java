package dev.baton.http;

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Records what servers and clients of one runtime do as spans of OpenTelemetry, and sends them to a collector as
/// OTLP over HTTP, in JSON (opentelemetry-proto, `trace/v1`).
///
/// A request that brings `traceparent` is part of that trace, unless the trace is not sampled; any other begins
/// one. A collector that does not answer costs nothing but its spans. Thread-safe.
final class Tracer {
    private static final Logger LOG = LoggerFactory.getLogger(Tracer.class);
    private static final Duration SENT_EACH = Duration.ofMillis(500);
    private static final Duration ANSWER_DEADLINE = Duration.ofSeconds(5);
    private static final Duration LAST_DEADLINE = Duration.ofSeconds(2);
    private static final int MAX_WAITING = 16_384;
    private static final int MAX_SENT_AT_ONCE = 1_024;
    private static final int MAX_ANSWER_BYTES = 1 << 20;

    private final URI endpoint;
    private final String service;
    private final Function<URI, String> nameOfCall;
    private final HttpClient client;
    private final Queue<Span> ended = new ConcurrentLinkedQueue<>();
    private final AtomicInteger waiting = new AtomicInteger();
    private final AtomicBoolean failing = new AtomicBoolean();

    /// @param client itself not traced
    Tracer(HttpRuntime runtime, HttpClient client, URI endpoint, String service, Function<URI, String> nameOfCall) {
        this.client = client;
        this.endpoint = endpoint;
        this.service = service;
        this.nameOfCall = nameOfCall;
        runtime.every(SENT_EACH, this::send);
    }

    /// Begins the span of a request that has come, if it is to be recorded.
    Optional<Span> request(String method, String path, Optional<String> traceparent, long startNanos) {
        Optional<TraceContext> parent = TraceContext.parse(traceparent);
        if (!method.equals("POST")
                || !path.startsWith("/v1/")
                || parent.filter(above -> !above.sampled()).isPresent()) {
            return Optional.empty();
        }
        Span span = new Span(method + " " + path, Span.Kind.SERVER, parent, startNanos, this::take);
        span.attribute("http.request.method", method);
        span.attribute("url.path", path);
        return Optional.of(span);
    }

    /// Begins the span of a call that is made on behalf of a recorded request.
    Optional<Span> call(HttpClientRequest request) {
        Optional<TraceContext> parent = TraceContext.parse(request.headers().first(TraceContext.HEADER));
        if (parent.filter(TraceContext::sampled).isEmpty()) {
            return Optional.empty();
        }
        String name = nameOfCall.apply(request.target());
        Span span = new Span(name, Span.Kind.CLIENT, parent, System.nanoTime(), this::take);
        span.attribute("url.path", request.target().getPath());
        span.attribute("server.address", request.target().getHost());
        span.attribute("server.port", request.target().getPort());
        request.headers().first("x-request-id").ifPresent(id -> span.attribute("gen_ai.request.id", id));
        return Optional.of(span);
    }

    private void take(Span span) {
        if (waiting.incrementAndGet() > MAX_WAITING) {
            waiting.decrementAndGet();
        } else {
            ended.add(span);
        }
    }

    private List<Span> next() {
        List<Span> spans = new ArrayList<>();
        for (Span span = ended.poll(); span != null; span = spans.size() < MAX_SENT_AT_ONCE ? ended.poll() : null) {
            spans.add(span);
        }
        waiting.addAndGet(-spans.size());
        return spans;
    }

    private HttpClientRequest batch(List<Span> spans, Duration deadline) {
        Map<String, Object> resource = Map.of("attributes", Span.attributes(Map.of("service.name", service)));
        Map<String, Object> scope = Map.of(
                "scope",
                Map.of("name", "dev.baton"),
                "spans",
                spans.stream().map(Span::json).toList());
        byte[] json = Json.bytes(
                Map.of("resourceSpans", List.of(Map.of("resource", resource, "scopeSpans", List.of(scope)))));
        return HttpClientRequest.postJson(endpoint, json, deadline);
    }

    private void send() {
        List<Span> spans = next();
        if (!spans.isEmpty()) {
            client.send(
                    batch(spans, ANSWER_DEADLINE),
                    new WholeResponse(
                            MAX_ANSWER_BYTES,
                            answer -> sent(answer.status() / 100 == 2, "it answers " + answer.status()),
                            failure -> sent(false, String.valueOf(failure.getMessage()))));
        }
    }

    /// Said when it begins and when it ends, not for each batch.
    private void sent(boolean well, String why) {
        if (failing.compareAndSet(well, !well)) {
            if (well) {
                LOG.info("traces reach {} again", endpoint);
            } else {
                LOG.warn("traces do not reach {}: {}", endpoint, why);
            }
        }
    }

    /// Sends what is left.
    void finish() {
        List<Span> spans = next();
        if (spans.isEmpty()) {
            return;
        }
        try {
            client.exchange(batch(spans, LAST_DEADLINE), MAX_ANSWER_BYTES)
                    .get(LAST_DEADLINE.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException e) {
            LOG.debug("the last traces do not reach {}: {}", endpoint, e.toString());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
