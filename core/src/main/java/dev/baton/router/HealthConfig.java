package dev.baton.router;

import java.time.Duration;

/// How a router judges its engines. Immutable and thread-safe.
///
/// @param downProbeInterval time between two probes of an engine that is in doubt, or down for less than a minute
/// @param scrapeInterval time between two reads of an engine's `GET /metrics`; zero for none
/// @param hangTimeout time for which an engine may have requests and compute nothing before it is taken as hung;
///     zero for ever
/// @param slowStart time over which the weight of an engine that comes (back) rises to its full; zero for at once
/// @param circuitFailures failures in a row that open an engine's circuit; 0 for no circuit breaker
/// @param circuitFailureRate share of failures among the requests of [CircuitBreaker#WINDOW] that opens it, over 0
///     to 1
/// @param circuitOpen time that it stays open at first; doubled each time that the trial after it fails
/// @param forgetAfter time after which the metrics of an engine that left are dropped
/// @param fleetMetrics whether `GET /metrics` carries the engines' own, summed
public record HealthConfig(
        Duration downProbeInterval,
        Duration scrapeInterval,
        Duration hangTimeout,
        Duration slowStart,
        int circuitFailures,
        double circuitFailureRate,
        Duration circuitOpen,
        Duration forgetAfter,
        boolean fleetMetrics) {

    /// @throws RouterException if a number is out of range
    public HealthConfig {
        if (downProbeInterval.toMillis() < 1 || circuitOpen.toMillis() < 1) {
            throw new RouterException("the probe interval of engines that are down and the time that a circuit stays"
                    + " open must be at least 1 ms");
        }
        if (scrapeInterval.isNegative()
                || hangTimeout.isNegative()
                || slowStart.isNegative()
                || forgetAfter.isNegative()) {
            throw new RouterException(
                    "the scrape interval, hang timeout, slow start and forget time must be at least 0");
        }
        if (circuitFailures < 0) {
            throw new RouterException("circuitFailures is " + circuitFailures + ", needed is at least 0");
        }
        if (!(circuitFailureRate > 0 && circuitFailureRate <= 1)) {
            throw new RouterException(
                    "circuitFailureRate is " + circuitFailureRate + ", needed is over 0 and at most 1");
        }
    }

    /// The builder's defaults.
    public static HealthConfig defaults() {
        return builder().build();
    }

    /// Begins with the defaults: probes of what is down each 200 ms, metrics each second, hung after 30 s, 2 s
    /// of slow start, a circuit that opens for 1 s after 5 failures in a row or when half of the requests fail,
    /// engines forgotten 10 minutes after they left, the engines' metrics in the router's.
    public static Builder builder() {
        return new Builder();
    }

    /// Begins with these values.
    public Builder toBuilder() {
        return new Builder()
                .downProbeInterval(downProbeInterval)
                .scrapeInterval(scrapeInterval)
                .hangTimeout(hangTimeout)
                .slowStart(slowStart)
                .circuitFailures(circuitFailures)
                .circuitFailureRate(circuitFailureRate)
                .circuitOpen(circuitOpen)
                .forgetAfter(forgetAfter)
                .fleetMetrics(fleetMetrics);
    }

    /// Collects the settings. Not thread-safe.
    public static final class Builder {
        private Duration downProbeInterval = Duration.ofMillis(200);
        private Duration scrapeInterval = Duration.ofSeconds(1);
        private Duration hangTimeout = Duration.ofSeconds(30);
        private Duration slowStart = Duration.ofSeconds(2);
        private int circuitFailures = 5;
        private double circuitFailureRate = 0.5;
        private Duration circuitOpen = Duration.ofSeconds(1);
        private Duration forgetAfter = Duration.ofMinutes(10);
        private boolean fleetMetrics = true;

        private Builder() {}

        public Builder downProbeInterval(Duration interval) {
            downProbeInterval = interval;
            return this;
        }

        public Builder scrapeInterval(Duration interval) {
            scrapeInterval = interval;
            return this;
        }

        public Builder hangTimeout(Duration timeout) {
            hangTimeout = timeout;
            return this;
        }

        public Builder slowStart(Duration time) {
            slowStart = time;
            return this;
        }

        public Builder circuitFailures(int failures) {
            circuitFailures = failures;
            return this;
        }

        public Builder circuitFailureRate(double share) {
            circuitFailureRate = share;
            return this;
        }

        public Builder circuitOpen(Duration time) {
            circuitOpen = time;
            return this;
        }

        public Builder forgetAfter(Duration time) {
            forgetAfter = time;
            return this;
        }

        public Builder fleetMetrics(boolean carried) {
            fleetMetrics = carried;
            return this;
        }

        public HealthConfig build() {
            return new HealthConfig(
                    downProbeInterval,
                    scrapeInterval,
                    hangTimeout,
                    slowStart,
                    circuitFailures,
                    circuitFailureRate,
                    circuitOpen,
                    forgetAfter,
                    fleetMetrics);
        }
    }
}
