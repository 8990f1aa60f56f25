package dev.baton.router;

import dev.baton.http.HttpClient;
import dev.baton.http.HttpRuntime;
import dev.baton.router.policy.RoutingPolicy;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// Keeps what the router believes of its engines up to date: probes, reads of their metrics, and what has to follow
/// when an engine leaves or comes back. Thread-safe.
final class EngineHealth implements EnginePool.Watcher, AutoCloseable {
    private static final Duration STALE = Duration.ofSeconds(5);

    private final RoutingPolicy policy;
    private final RouterMetrics metrics;
    private final TtftStats ttft;
    private final FleetMetrics fleet;
    private final Introductions introductions;
    private final HealthProber prober;
    private final MetricsScraper scraper;
    private volatile @Nullable EnginePool pool; // of the fleet, once it has begun
    private volatile @Nullable PairWarmUp warmUp; // the same, if pairs are to be warmed up

    EngineHealth(HttpClient client, RouterConfig config, RoutingPolicy policy, RouterMetrics metrics, TtftStats ttft) {
        this.policy = policy;
        this.metrics = metrics;
        this.ttft = ttft;
        fleet = metrics.fleet();
        HealthConfig health = config.health();
        introductions =
                new Introductions(client, config.engineKey(), config.deadlines().abortNotice());
        prober = new HealthProber(
                client,
                config.probeInterval(),
                health.downProbeInterval(),
                config.deadlines().probe(),
                (engine, answer) -> introductions.answered(engine, answer, fleet(), warmUp()));
        scraper = new MetricsScraper(client, health.scrapeInterval(), fleet);
    }

    /// The fleet's metrics, with what counts as stale at this interval of reads.
    static FleetMetrics fleetMetrics(HealthConfig config) {
        Duration several = config.scrapeInterval().multipliedBy(3);
        return new FleetMetrics(several.compareTo(STALE) > 0 ? several : STALE);
    }

    /// The engines that there are; none before it has begun.
    private List<Upstream> fleet() {
        EnginePool known = pool;
        return known == null ? List.of() : known.all();
    }

    private Optional<PairWarmUp> warmUp() {
        return Optional.ofNullable(warmUp);
    }

    /// Begins; the first probes go out at once.
    ///
    /// @param warmUp of pairs that are new
    void start(HttpRuntime runtime, EnginePool pool, Optional<PairWarmUp> warmUp) {
        this.warmUp = warmUp.orElse(null);
        this.pool = pool;
        prober.start(runtime, pool);
        scraper.start(runtime, pool);
    }

    @Override
    public void probeNow(Upstream engine) {
        prober.probe(engine);
    }

    @Override
    public void cameBackEmpty(Upstream engine) {
        policy.forgotten(engine);
    }

    @Override
    public void gone(Upstream engine) {
        policy.forgotten(engine);
        introductions.gone(engine);
        warmUp().ifPresent(pairs -> pairs.left(engine));
        scraper.gone(engine);
        fleet.gone(engine.address());
    }

    @Override
    public void forgotten(Upstream engine) {
        fleet.forgotten(engine.address());
        metrics.forget(engine);
        ttft.forget(engine.prefillerIndex(), engine.decoderIndex());
    }

    @Override
    public void close() {
        prober.close();
        scraper.close();
    }
}
