package dev.baton.router;

import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.HttpException;
import dev.baton.http.HttpRuntime;
import dev.baton.http.WholeResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Reads every engine's `GET /metrics` each interval, one read at a time for each: its load for the policies, its
/// progress for what is believed of it, all of it for the fleet's sums. An engine without metrics is asked again
/// seldom and is judged by its probes alone. Thread-safe.
final class MetricsScraper implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(MetricsScraper.class);

    /// Time until an engine that has no metrics is asked again.
    private static final long ABSENT_NANOS = Duration.ofSeconds(30).toNanos();

    private static final Duration DEADLINE = Duration.ofSeconds(2);
    private static final int MAX_ANSWER_BYTES = 4 << 20;

    /// Answers from this size on are read on a thread of their own: 200 kB take a millisecond.
    private static final int LARGE_ANSWER_BYTES = 16 << 10;

    private final HttpClient client;
    private final Duration interval;
    private final FleetMetrics fleet;
    private final Set<Upstream> underWay = ConcurrentHashMap.newKeySet();
    private final Map<Upstream, Long> absent = new ConcurrentHashMap<>();
    private @Nullable AutoCloseable schedule;

    /// @param interval zero for no reads at all
    MetricsScraper(HttpClient client, Duration interval, FleetMetrics fleet) {
        this.client = client;
        this.interval = interval;
        this.fleet = fleet;
    }

    void start(HttpRuntime runtime, EnginePool pool) {
        if (!interval.isZero()) {
            schedule = runtime.every(interval, () -> {
                pool.all().forEach(this::scrape);
                pool.leaving().forEach(this::scrape);
            });
        }
    }

    /// An engine has left.
    void gone(Upstream engine) {
        absent.remove(engine);
    }

    private void scrape(Upstream engine) {
        boolean reachable = engine.state() != Upstream.State.DOWN || engine.hung();
        Long absentSince = absent.get(engine);
        boolean absentYet = absentSince != null && System.nanoTime() - absentSince < ABSENT_NANOS;
        if (!reachable || absentYet || !underWay.add(engine)) {
            return;
        }
        client.send(
                HttpClientRequest.get(engine.uri("/metrics"), DEADLINE),
                new WholeResponse(
                        MAX_ANSWER_BYTES, answer -> answered(engine, answer), failure -> failed(engine, failure)));
    }

    private void answered(Upstream engine, HttpClientResponse answer) {
        if (answer.body().length < LARGE_ANSWER_BYTES) {
            read(engine, answer);
        } else {
            Thread.ofVirtual().name("baton-metrics").start(() -> read(engine, answer));
        }
    }

    private void read(Upstream engine, HttpClientResponse answer) {
        try {
            take(engine, answer);
        } finally {
            underWay.remove(engine);
        }
    }

    private void take(Upstream engine, HttpClientResponse answer) {
        if (answer.status() != 200) {
            if (absent.put(engine, System.nanoTime()) == null) {
                LOG.info("{} has no metrics, /metrics answers {}", engine, answer.status());
            }
            return;
        }
        absent.remove(engine);
        String text = new String(answer.body(), StandardCharsets.UTF_8);
        EngineSample sample = EngineSample.parse(text);
        fleet.scraped(engine.address(), engine.role(), text, sample.restartedSince(engine.sample()));
        engine.scraped(sample);
    }

    private void failed(Upstream engine, HttpException failure) {
        underWay.remove(engine);
        if (failure.kind() == HttpException.Kind.TOO_LARGE && absent.put(engine, System.nanoTime()) == null) {
            LOG.warn("{}: its /metrics is not read: {}", engine, failure.getMessage());
        } else {
            LOG.debug("{}: its /metrics was not read: {}", engine, failure.getMessage());
        }
    }

    @Override
    public void close() {
        if (schedule != null) {
            try {
                schedule.close();
            } catch (Exception e) { // AutoCloseable's signature
                LOG.warn("the reads of metrics did not stop", e);
            }
        }
    }
}
