package dev.baton.router;

import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpRuntime;
import dev.baton.http.WholeResponse;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Asks every engine for `GET /health` each interval, more often while it is in doubt or down, and at once where a
/// request broke. Any answer below 500 is alive: an engine without that path still answered. Thread-safe.
final class HealthProber implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HealthProber.class);

    /// Missed deadlines in a row after which an engine is down: on a busy machine one late answer means nothing.
    private static final int ENOUGH_MISSED = 3;

    private static final int MAX_ANSWER_BYTES = 64 << 10;

    private final HttpClient client;
    private final Duration deadline;
    private final Duration interval;
    private final Duration soon;
    private final BiConsumer<Upstream, HttpClientResponse> onAnswer;
    private final Set<Upstream> underWay = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;
    private @Nullable AutoCloseable schedule;

    /// @param interval for engines that are up
    /// @param soon for those that are in doubt or down
    /// @param deadline for an answer
    /// @param onAnswer told of every answer of an engine that is alive
    HealthProber(
            HttpClient client,
            Duration interval,
            Duration soon,
            Duration deadline,
            BiConsumer<Upstream, HttpClientResponse> onAnswer) {
        this.client = client;
        this.interval = interval;
        this.soon = soon.compareTo(interval) < 0 ? soon : interval;
        this.deadline = deadline;
        this.onAnswer = onAnswer;
    }

    /// Begins; the first probes go out at once.
    void start(HttpRuntime runtime, EnginePool pool) {
        pool.all().forEach(this::probe);
        schedule = runtime.every(soon, () -> {
            long now = System.nanoTime();
            pool.tidy(now);
            for (Upstream engine : pool.all()) {
                probeIfDue(engine, now);
            }
            for (Upstream engine : pool.leaving()) {
                probeIfDue(engine, now);
            }
        });
    }

    private void probeIfDue(Upstream engine, long now) {
        if (engine.isProbeDue(now, interval, soon)) {
            probe(engine);
        }
    }

    /// Probes one engine, unless a probe of it is under way.
    void probe(Upstream engine) {
        if (closed || !underWay.add(engine)) {
            return;
        }
        engine.probeStarted(System.nanoTime());
        client.send(
                HttpClientRequest.get(engine.uri("/health"), deadline),
                new WholeResponse(
                        MAX_ANSWER_BYTES, answer -> answered(engine, answer), failure -> failed(engine, failure)));
    }

    private void answered(Upstream engine, HttpClientResponse answer) {
        underWay.remove(engine);
        if (answer.status() < 500) {
            try {
                onAnswer.accept(engine, answer); // first: who asks whether all is ready must not come in between
            } finally {
                engine.probeSucceeded();
            }
        } else {
            engine.probeFailed(
                    Upstream.Miss.UNWELL, ENOUGH_MISSED, silence(), "its /health answers " + answer.status());
        }
    }

    private void failed(Upstream engine, HttpException failure) {
        underWay.remove(engine);
        boolean refused = failure.kind() == HttpException.Kind.CONNECT && !failure.isUnanswered();
        engine.probeFailed(
                refused ? Upstream.Miss.REFUSED : Upstream.Miss.LATE,
                ENOUGH_MISSED,
                silence(),
                "its health probe failed: " + failure.getMessage());
        if (engine.isBeingMissed(ENOUGH_MISSED)) {
            probe(engine); // the deadline was pause enough
        }
    }

    private Duration silence() {
        return (interval.compareTo(deadline) < 0 ? deadline : interval).multipliedBy(ENOUGH_MISSED);
    }

    @Override
    public void close() {
        closed = true;
        if (schedule != null) {
            try {
                schedule.close();
            } catch (Exception e) { // AutoCloseable's signature
                LOG.warn("the health probes did not stop", e);
            }
        }
    }
}
