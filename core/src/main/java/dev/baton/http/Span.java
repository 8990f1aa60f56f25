package dev.baton.http;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/// One piece of work in a trace, with attributes and moments; see [Tracer]. What comes after its end is dropped.
/// Thread-safe.
public final class Span {
    /// What the work is to others, in the numbers of OpenTelemetry's protocol.
    enum Kind {
        INTERNAL(1),
        SERVER(2),
        CLIENT(3);

        final int number;

        Kind(int number) {
            this.number = number;
        }
    }

    /// A moment within a span.
    record Event(String name, long unixNanos) {}

    private final String name;
    private final Kind kind;
    private final Optional<TraceContext> parent;
    private final TraceContext context;
    private final Consumer<Span> whenEnded;
    private final long startNanos;
    private final long startUnixNanos;
    // guarded by this
    private final Map<String, Object> attributes = new LinkedHashMap<>();
    private final List<Event> events = new ArrayList<>(2);
    private long endUnixNanos;
    private String failure = "";

    /// @param startNanos when it began, by [System#nanoTime()]
    Span(String name, Kind kind, Optional<TraceContext> parent, long startNanos, Consumer<Span> whenEnded) {
        this(
                name,
                kind,
                parent,
                startNanos,
                TimeUnit.MILLISECONDS.toNanos(System.currentTimeMillis()) - (System.nanoTime() - startNanos),
                whenEnded);
    }

    private Span(
            String name,
            Kind kind,
            Optional<TraceContext> parent,
            long startNanos,
            long startUnixNanos,
            Consumer<Span> whenEnded) {
        this.name = name;
        this.kind = kind;
        this.parent = parent;
        this.context = TraceContext.under(parent);
        this.whenEnded = whenEnded;
        this.startNanos = startNanos;
        this.startUnixNanos = startUnixNanos;
    }

    /// Where it stands; what is done on its behalf elsewhere is under this.
    public TraceContext context() {
        return context;
    }

    /// Adds a fact: a text, a whole number, a floating-point number or a truth value. Never a prompt or an output.
    public synchronized void attribute(String key, Object value) {
        if (endUnixNanos == 0) {
            attributes.put(key, value);
        }
    }

    /// Something happens now.
    public synchronized void event(String what) {
        if (endUnixNanos == 0) {
            events.add(new Event(what, unixNanos(System.nanoTime())));
        }
    }

    /// It went wrong.
    public synchronized void fail(String why) {
        if (endUnixNanos == 0) {
            failure = why;
        }
    }

    /// It is over.
    public void end() {
        endAt(System.nanoTime());
    }

    /// Adds a part of this work that is over already, as a span below this one, by this one's clock.
    ///
    /// @param begin by [System#nanoTime()], as `end`
    public void part(String what, long begin, long end) {
        new Span(what, Kind.INTERNAL, Optional.of(context), begin, unixNanos(begin), whenEnded).endAt(end);
    }

    private void endAt(long nanos) {
        synchronized (this) {
            if (endUnixNanos != 0) {
                return;
            }
            endUnixNanos = unixNanos(nanos);
        }
        whenEnded.accept(this);
    }

    private long unixNanos(long nanos) {
        return startUnixNanos + (nanos - startNanos);
    }

    /// As OTLP writes it in JSON.
    synchronized Map<String, Object> json() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("traceId", context.traceId());
        json.put("spanId", context.spanId());
        parent.ifPresent(above -> json.put("parentSpanId", above.spanId()));
        json.put("name", name);
        json.put("kind", kind.number);
        json.put("startTimeUnixNano", Long.toString(startUnixNanos));
        json.put("endTimeUnixNano", Long.toString(endUnixNanos));
        json.put("attributes", attributes(attributes));
        json.put(
                "events",
                events.stream()
                        .map(event -> Map.of("name", event.name(), "timeUnixNano", Long.toString(event.unixNanos())))
                        .toList());
        json.put("status", failure.isEmpty() ? Map.of() : Map.of("code", 2, "message", failure));
        return json;
    }

    static List<Map<String, Object>> attributes(Map<String, Object> values) {
        List<Map<String, Object>> list = new ArrayList<>(values.size());
        values.forEach((key, value) -> list.add(Map.of("key", key, "value", value(value))));
        return list;
    }

    private static Map<String, Object> value(Object value) {
        return switch (value) {
            case Integer number -> Map.of("intValue", number.toString());
            case Long number -> Map.of("intValue", number.toString());
            case Double number -> Map.of("doubleValue", number);
            case Boolean truth -> Map.of("boolValue", truth);
            default -> Map.of("stringValue", value.toString());
        };
    }
}
