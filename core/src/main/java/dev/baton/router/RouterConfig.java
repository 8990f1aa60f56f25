package dev.baton.router;

import dev.baton.discovery.EngineSource;
import dev.baton.http.HttpServerConfig;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Nixl;
import dev.baton.router.policy.PolicyConfig;
import java.time.Duration;

/// The settings of a [Router]. Immutable and thread-safe.
///
/// @param server address and limits towards clients
/// @param engines says which engines there are; closed with the router
/// @param fleet who may see and change the fleet over HTTP
/// @param backend how the fleet's engines hand over
/// @param policy how routes are chosen
/// @param deadlines how long to wait for engines
/// @param maxInFlight requests in flight at a time; further ones get 503 at once
/// @param probeInterval time between two health probes of an engine that is up
/// @param health how engines are judged besides
/// @param statsInterval time between two reports of TTFT statistics while there is traffic
/// @param accessLog whether each request is logged, without its prompt
public record RouterConfig(
        HttpServerConfig server,
        EngineSource engines,
        FleetConfig fleet,
        Backend backend,
        PolicyConfig policy,
        RouterDeadlines deadlines,
        int maxInFlight,
        Duration probeInterval,
        HealthConfig health,
        Duration statsInterval,
        boolean accessLog) {

    /// @throws RouterException if a number is out of range
    public RouterConfig {
        if (maxInFlight < 1) {
            throw new RouterException("maxInFlight is " + maxInFlight + ", needed is at least 1");
        }
        if (probeInterval.toMillis() < 1 || statsInterval.toMillis() < 1) {
            throw new RouterException("the intervals of probes and statistics must be at least 1 ms");
        }
    }

    /// The builder's defaults.
    public static RouterConfig of(String host, int port, EngineSource engines) {
        return builder(host, port, engines).build();
    }

    /// Begins with the defaults: NIXL's hand-over fields, the policy's defaults, 10,000 requests in flight, a probe
    /// each second, statistics each 5 s, access log on.
    public static Builder builder(String host, int port, EngineSource engines) {
        return new Builder(HttpServerConfig.of(host, port), engines);
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder(server, engines)
                .fleet(fleet)
                .backend(backend)
                .policy(policy)
                .deadlines(deadlines)
                .maxInFlight(maxInFlight)
                .probeInterval(probeInterval)
                .health(health)
                .statsInterval(statsInterval)
                .accessLog(accessLog);
    }

    /// Collects the settings of a router. Not thread-safe.
    public static final class Builder {
        private HttpServerConfig server;
        private EngineSource engines;
        private FleetConfig fleet = FleetConfig.defaults();
        private Backend backend = new Nixl();
        private PolicyConfig policy = PolicyConfig.defaults();
        private RouterDeadlines deadlines = RouterDeadlines.defaults();
        private int maxInFlight = 10_000;
        private Duration probeInterval = Duration.ofSeconds(1);
        private HealthConfig health = HealthConfig.defaults();
        private Duration statsInterval = Duration.ofSeconds(5);
        private boolean accessLog = true;

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

        public Builder policy(PolicyConfig config) {
            policy = config;
            return this;
        }

        public Builder deadlines(RouterDeadlines times) {
            deadlines = times;
            return this;
        }

        public Builder maxInFlight(int requests) {
            maxInFlight = requests;
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

        /// The settings collected.
        ///
        /// @throws RouterException if a number is out of range
        public RouterConfig build() {
            return new RouterConfig(
                    server,
                    engines,
                    fleet,
                    backend,
                    policy,
                    deadlines,
                    maxInFlight,
                    probeInterval,
                    health,
                    statsInterval,
                    accessLog);
        }
    }
}
