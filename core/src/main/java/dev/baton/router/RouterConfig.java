package dev.baton.router;

import dev.baton.discovery.EngineSource;
import dev.baton.http.HttpServerConfig;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.Nixl;
import java.time.Duration;

/// The settings of a [Router].
///
/// @param server address and limits towards clients
/// @param engines says which engines there are; closed with the router
/// @param backend how the fleet's engines hand over
/// @param deadlines how long to wait for engines
/// @param maxInFlight requests in flight at a time; further ones get 503 at once
/// @param probeInterval time between two health probes of an engine
/// @param statsInterval time between two reports of TTFT statistics while there is traffic
/// @param accessLog whether each request is logged, without its prompt
public record RouterConfig(
        HttpServerConfig server,
        EngineSource engines,
        Backend backend,
        RouterDeadlines deadlines,
        int maxInFlight,
        Duration probeInterval,
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

    /// The defaults: NIXL's hand-over fields, 10,000 requests in flight, a probe each second, statistics each 5 s,
    /// access log on.
    public static RouterConfig of(String host, int port, EngineSource engines) {
        return new RouterConfig(
                HttpServerConfig.of(host, port),
                engines,
                new Nixl(),
                RouterDeadlines.defaults(),
                10_000,
                Duration.ofSeconds(1),
                Duration.ofSeconds(5),
                true);
    }

    public RouterConfig withServer(HttpServerConfig changed) {
        return new RouterConfig(
                changed, engines, backend, deadlines, maxInFlight, probeInterval, statsInterval, accessLog);
    }

    public RouterConfig withBackend(Backend changed) {
        return new RouterConfig(
                server, engines, changed, deadlines, maxInFlight, probeInterval, statsInterval, accessLog);
    }

    public RouterConfig withDeadlines(RouterDeadlines changed) {
        return new RouterConfig(
                server, engines, backend, changed, maxInFlight, probeInterval, statsInterval, accessLog);
    }

    public RouterConfig withMaxInFlight(int changed) {
        return new RouterConfig(server, engines, backend, deadlines, changed, probeInterval, statsInterval, accessLog);
    }

    public RouterConfig withIntervals(Duration probes, Duration stats) {
        return new RouterConfig(server, engines, backend, deadlines, maxInFlight, probes, stats, accessLog);
    }

    public RouterConfig withAccessLog(boolean changed) {
        return new RouterConfig(
                server, engines, backend, deadlines, maxInFlight, probeInterval, statsInterval, changed);
    }
}
