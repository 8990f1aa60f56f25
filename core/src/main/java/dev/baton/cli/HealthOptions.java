package dev.baton.cli;

import dev.baton.router.HealthConfig;
import java.time.Duration;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about how a router judges its engines.
@Command
final class HealthOptions {
    @Option(
            names = "--probe-interval",
            defaultValue = "1",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Time between two health probes of an engine that is up; others are probed more often"
                    + " (default: ${DEFAULT-VALUE}).")
    Duration probeInterval = Duration.ZERO;

    @Option(
            names = "--probe-timeout",
            defaultValue = "1",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Time for the answer to a health probe; three late ones in a row from an engine that says"
                    + " nothing else either mean that it is down (default: ${DEFAULT-VALUE}).")
    Duration probeTimeout = Duration.ZERO;

    @Option(
            names = "--scrape-interval",
            defaultValue = "1",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time between two reads of an engine's /metrics, 0 for none (default: ${DEFAULT-VALUE}).")
    Duration scrapeInterval = Duration.ZERO;

    @Option(
            names = "--hang-timeout",
            defaultValue = "30",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time for which an engine may have requests and compute nothing before it is taken as hung, 0"
                    + " for ever (default: ${DEFAULT-VALUE}).")
    Duration hangTimeout = Duration.ZERO;

    @Option(
            names = "--slow-start",
            defaultValue = "2",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time over which the weight of an engine that comes (back) rises, 0 for at once (default:"
                    + " ${DEFAULT-VALUE}).")
    Duration slowStart = Duration.ZERO;

    @Option(
            names = "--circuit-failures",
            defaultValue = "5",
            paramLabel = "N",
            description = "Failures in a row after which an engine gets no requests but a trial now and then, 0 for no"
                    + " circuit breaker (default: ${DEFAULT-VALUE}).")
    int circuitFailures;

    @Option(names = "--disable-fleet-metrics", description = "Leave the engines' own metrics out of /metrics.")
    boolean disableFleetMetrics;

    /// The settings that these flags describe.
    ///
    /// @throws dev.baton.router.RouterException if a number is out of range
    HealthConfig health() {
        return HealthConfig.builder()
                .scrapeInterval(scrapeInterval)
                .hangTimeout(hangTimeout)
                .slowStart(slowStart)
                .circuitFailures(circuitFailures)
                .fleetMetrics(!disableFleetMetrics)
                .build();
    }
}
