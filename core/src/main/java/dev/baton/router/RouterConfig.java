package dev.baton.router;

import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineSource;
import dev.baton.http.ClientTls;
import dev.baton.http.HttpServerConfig;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.NixlOrBaton;
import dev.baton.router.policy.KvTransferWay;
import dev.baton.router.policy.PolicyConfig;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/// The settings of a [Router]. Immutable and thread-safe.
///
/// @param server address and limits towards clients
/// @param engines says which engines there are; closed with the router
/// @param fleet who may see and change the fleet over HTTP
/// @param backend how the fleet's engines hand over
/// @param announcements what prefillers say outside of their answers; closed with the router
/// @param engineKey the API key that engines are shown; empty if they are shown the client's, or none where the
///     server has keys of its own
/// @param policy how routes are chosen
/// @param kvTransfer how prompts come to their decoders, where the backend can do it in two ways
/// @param deadlines how long to wait for engines
/// @param maxMigrations how often a stream may go on at another decoder after one failed in its midst; 0 for never
/// @param exactContinuation whether a stream goes on only where the tokens so far are known, and not from its text
/// @param engineTls how engines of `https` addresses are known
/// @param tracesEndpoint where traces go, as OTLP in JSON over HTTP; empty: nothing is recorded
/// @param eventLoops threads that carry requests
/// @param maxInFlight requests in flight at a time; further ones get 503 at once
/// @param maxQueueWait expected wait for a first token from which on requests get 503 at once; zero: never
/// @param probeInterval time between two health probes of an engine that is up
/// @param health how engines are judged besides
/// @param statsInterval time between two reports of TTFT statistics while there is traffic; zero for none
/// @param accessLog whether each request is logged, without its prompt
/// @param warmUp whether requests of the router's own go through engines that are new, so that a client's are
///     not the first; only where engines say how they are connected, as Batons do
public record RouterConfig(
        HttpServerConfig server,
        EngineSource engines,
        FleetConfig fleet,
        Backend backend,
        Announcements announcements,
        Optional<String> engineKey,
        PolicyConfig policy,
        KvTransferWay kvTransfer,
        RouterDeadlines deadlines,
        int maxMigrations,
        boolean exactContinuation,
        ClientTls engineTls,
        Optional<URI> tracesEndpoint,
        int eventLoops,
        int maxInFlight,
        Duration maxQueueWait,
        Duration probeInterval,
        HealthConfig health,
        Duration statsInterval,
        boolean accessLog,
        boolean warmUp) {

    /// @throws RouterException if a number is out of range, or engines that are fixed lack what the backend
    ///     needs of them
    public RouterConfig {
        requireDescribed(engines, backend);
        if (maxInFlight < 1) {
            throw new RouterException("maxInFlight is " + maxInFlight + ", needed is at least 1");
        }
        if (maxMigrations < 0) {
            throw new RouterException("maxMigrations is " + maxMigrations + ", needed is at least 0");
        }
        if (eventLoops < 1) {
            throw new RouterException("eventLoops is " + eventLoops + ", needed is at least 1");
        }
        if (maxQueueWait.isNegative()) {
            throw new RouterException("maxQueueWait is " + maxQueueWait + ", needed is at least 0");
        }
        if (probeInterval.toMillis() < 1) {
            throw new RouterException("probeInterval is " + probeInterval + ", needed is at least 1 ms");
        }
        if (!statsInterval.isZero() && statsInterval.toMillis() < 1) {
            throw new RouterException("statsInterval is " + statsInterval + ", needed is at least 1 ms, or 0 for none");
        }
    }

    /// A fleet that could never hand anything over must not look as if it did.
    private static void requireDescribed(EngineSource engines, Backend backend) {
        List<EngineInfo> known = engines.fixed();
        if (backend.findsOutWhatLacks()
                || known.stream().noneMatch(engine -> engine.role().prefills())) {
            return;
        }
        for (EngineInfo engine : known) {
            Optional<String> lack = backend.lacks(engine);
            if (lack.isPresent()) {
                throw new RouterException(lack.get() + "; add it in --"
                        + (engine.role().decodes() ? "decoders" : "prefillers") + ", or choose another --backend");
            }
        }
    }

    /// The builder's defaults.
    public static RouterConfig of(String host, int port, EngineSource engines) {
        return builder(host, port, engines).build();
    }

    /// Begins with the defaults: hand-overs of Baton or of vLLM with NIXL, as engines say, the policy's
    /// defaults, 3 migrations of a stream, an event loop for each processor, 10,000 requests in flight, 30 s of
    /// waiting, a probe each second, statistics each 5 s, access log on, no warm-up.
    public static Builder builder(String host, int port, EngineSource engines) {
        return new Builder(HttpServerConfig.of(host, port), engines);
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder(server, engines)
                .fleet(fleet)
                .backend(backend)
                .announcements(announcements)
                .engineKey(engineKey)
                .policy(policy)
                .kvTransfer(kvTransfer)
                .deadlines(deadlines)
                .maxMigrations(maxMigrations)
                .exactContinuation(exactContinuation)
                .engineTls(engineTls)
                .tracesEndpoint(tracesEndpoint)
                .eventLoops(eventLoops)
                .maxInFlight(maxInFlight)
                .maxQueueWait(maxQueueWait)
                .probeInterval(probeInterval)
                .health(health)
                .statsInterval(statsInterval)
                .accessLog(accessLog)
                .warmUp(warmUp);
    }

    /// Collects the settings of a router. Not thread-safe.
    public static final class Builder {
        private HttpServerConfig server;
        private EngineSource engines;
        private FleetConfig fleet = FleetConfig.defaults();
        private Backend backend = new NixlOrBaton();
        private Announcements announcements = Announcements.NONE;
        private Optional<String> engineKey = Optional.empty();
        private PolicyConfig policy = PolicyConfig.defaults();
        private KvTransferWay kvTransfer = KvTransferWay.AUTO;
        private RouterDeadlines deadlines = RouterDeadlines.defaults();
        private int maxMigrations = 3;
        private boolean exactContinuation;
        private ClientTls engineTls = ClientTls.defaults();
        private Optional<URI> tracesEndpoint = Optional.empty();
        private int eventLoops = Runtime.getRuntime().availableProcessors();
        private int maxInFlight = 10_000;
        private Duration maxQueueWait = Duration.ofSeconds(30);
        private Duration probeInterval = Duration.ofSeconds(1);
        private HealthConfig health = HealthConfig.defaults();
        private Duration statsInterval = Duration.ofSeconds(5);
        private boolean accessLog = true;
        private boolean warmUp;

        private Builder(HttpServerConfig server, EngineSource engines) {
            this.server = server;
            this.engines = engines;
        }

        public Builder server(HttpServerConfig config) {
            server = config;
            return this;
        }

        public Builder engines(EngineSource source) {
            engines = source;
            return this;
        }

        public Builder fleet(FleetConfig config) {
            fleet = config;
            return this;
        }

        public Builder backend(Backend kind) {
            backend = kind;
            return this;
        }

        public Builder announcements(Announcements receiver) {
            announcements = receiver;
            return this;
        }

        public Builder engineKey(Optional<String> key) {
            engineKey = key;
            return this;
        }

        public Builder policy(PolicyConfig config) {
            policy = config;
            return this;
        }

        public Builder kvTransfer(KvTransferWay way) {
            kvTransfer = way;
            return this;
        }

        public Builder deadlines(RouterDeadlines times) {
            deadlines = times;
            return this;
        }

        public Builder maxMigrations(int times) {
            maxMigrations = times;
            return this;
        }

        public Builder exactContinuation(boolean value) {
            exactContinuation = value;
            return this;
        }

        public Builder engineTls(ClientTls how) {
            engineTls = how;
            return this;
        }

        public Builder tracesEndpoint(Optional<URI> collector) {
            tracesEndpoint = collector;
            return this;
        }

        public Builder eventLoops(int threads) {
            eventLoops = threads;
            return this;
        }

        public Builder maxInFlight(int requests) {
            maxInFlight = requests;
            return this;
        }

        public Builder maxQueueWait(Duration wait) {
            maxQueueWait = wait;
            return this;
        }

        public Builder probeInterval(Duration interval) {
            probeInterval = interval;
            return this;
        }

        public Builder health(HealthConfig config) {
            health = config;
            return this;
        }

        public Builder statsInterval(Duration interval) {
            statsInterval = interval;
            return this;
        }

        public Builder accessLog(boolean logged) {
            accessLog = logged;
            return this;
        }

        public Builder warmUp(boolean pairs) {
            warmUp = pairs;
            return this;
        }

        /// The settings collected.
        ///
        /// @throws RouterException if a number is out of range
        public RouterConfig build() {
            return new RouterConfig(
                    server,
                    engines,
                    fleet,
                    backend,
                    announcements,
                    engineKey,
                    policy,
                    kvTransfer,
                    deadlines,
                    maxMigrations,
                    exactContinuation,
                    engineTls,
                    tracesEndpoint,
                    eventLoops,
                    maxInFlight,
                    maxQueueWait,
                    probeInterval,
                    health,
                    statsInterval,
                    accessLog,
                    warmUp);
        }
    }
}
