package dev.baton.router;

import dev.baton.discovery.EngineSource;
import dev.baton.http.ClientTls;
import dev.baton.http.HttpServerConfig;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Nixl;
import dev.baton.router.policy.PolicyConfig;
import java.time.Duration;

/// The settings of a [Router]. Immutable and thread-safe.
///
/// @param server address and limits towards clients
/// @param engines says which engines there are; closed with the router
/// @param backend how the fleet's engines hand over
/// @param policy how routes are chosen
/// @param deadlines how long to wait for engines
/// @param engineTls how engines of `https` addresses are known
/// @param eventLoops threads that carry requests
/// @param maxInFlight requests in flight at a time; further ones get 503 at once
/// @param maxQueueWait expected wait for a first token from which on requests get 503 at once; zero: never
/// @param probeInterval time between two health probes of an engine
/// @param statsInterval time between two reports of TTFT statistics while there is traffic
/// @param accessLog whether each request is logged, without its prompt
public record RouterConfig(
        HttpServerConfig server,
        EngineSource engines,
        Backend backend,
        PolicyConfig policy,
        RouterDeadlines deadlines,
        ClientTls engineTls,
        int eventLoops,
        int maxInFlight,
        Duration maxQueueWait,
        Duration probeInterval,
        Duration statsInterval,
        boolean accessLog) {

    /// @throws RouterException if a number is out of range
    public RouterConfig {
        if (maxInFlight < 1) {
            throw new RouterException("maxInFlight is " + maxInFlight + ", needed is at least 1");
        }
        if (eventLoops < 1) {
            throw new RouterException("eventLoops is " + eventLoops + ", needed is at least 1");
        }
        if (maxQueueWait.isNegative()) {
            throw new RouterException("maxQueueWait is below 0");
        }
        if (probeInterval.toMillis() < 1 || statsInterval.toMillis() < 1) {
            throw new RouterException("the intervals of probes and statistics must be at least 1 ms");
        }
    }

    /// The builder's defaults.
    public static RouterConfig of(String host, int port, EngineSource engines) {
        return builder(host, port, engines).build();
    }

    /// Begins with the defaults: NIXL's hand-over fields, the policy's defaults, an event loop for
    /// each processor, 10,000 requests in flight, 30 s
    /// of waiting, a probe each second, statistics each 5 s, access log on.
    public static Builder builder(String host, int port, EngineSource engines) {
        return new Builder(HttpServerConfig.of(host, port), engines);
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder(server, engines)
                .backend(backend)
                .policy(policy)
                .deadlines(deadlines)
                .engineTls(engineTls)
                .eventLoops(eventLoops)
                .maxInFlight(maxInFlight)
                .maxQueueWait(maxQueueWait)
                .probeInterval(probeInterval)
                .statsInterval(statsInterval)
                .accessLog(accessLog);
    }

    /// Collects the settings of a router. Not thread-safe.
    public static final class Builder {
        private HttpServerConfig server;
        private EngineSource engines;
        private Backend backend = new Nixl();
        private PolicyConfig policy = PolicyConfig.defaults();
        private RouterDeadlines deadlines = RouterDeadlines.defaults();
        private ClientTls engineTls = ClientTls.defaults();
        private int eventLoops = Runtime.getRuntime().availableProcessors();
        private int maxInFlight = 10_000;
        private Duration maxQueueWait = Duration.ofSeconds(30);
        private Duration probeInterval = Duration.ofSeconds(1);
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

        public Builder engineTls(ClientTls how) {
            engineTls = how;
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
                    backend,
                    policy,
                    deadlines,
                    engineTls,
                    eventLoops,
                    maxInFlight,
                    maxQueueWait,
                    probeInterval,
                    statsInterval,
                    accessLog);
        }
    }
}
