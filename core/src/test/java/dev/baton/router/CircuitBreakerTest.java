package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/// When a circuit opens, lets a trial through, and closes.
class CircuitBreakerTest {
    private static final long SECOND = Duration.ofSeconds(1).toNanos();

    private final CircuitBreaker circuit = new CircuitBreaker(HealthConfig.defaults());
    private long now = -5 * SECOND; // nanoTime may be negative

    private void failTimes(int times) {
        for (int i = 0; i < times; i++) {
            circuit.failed(now);
        }
    }

    @Test
    void failuresInARowOpenItAndASuccessBetweenThemDoesNot() {
        failTimes(4);
        circuit.succeeded(now);
        failTimes(4);
        assertThat(circuit.state()).isEqualTo(CircuitBreaker.State.CLOSED);
        assertThat(circuit.failed(now)).isTrue();
        assertThat(circuit.state()).isEqualTo(CircuitBreaker.State.OPEN);
        assertThat(circuit.admits(now)).isFalse();
        assertThat(circuit.failed(now)).as("opens once").isFalse();
    }

    @Test
    void halfOfTheRequestsOfTheWindowOpenIt() {
        for (int i = 0; i < 9; i++) {
            circuit.succeeded(now);
            assertThat(circuit.failed(now)).isFalse();
            now += SECOND / 4;
        }
        circuit.succeeded(now);
        assertThat(circuit.failed(now)).as("10 of 20").isTrue();
    }

    /// Threads count successes without a lock; with the default of a half they would keep it closed for ever.
    @Test
    void noSuccessIsLostWhereSeveralThreadsCountThem() throws InterruptedException {
        CircuitBreaker shared = new CircuitBreaker(
                HealthConfig.builder().circuitFailureRate(0.25).build());
        shared.succeeded(now); // begins the bucket
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            threads.add(Thread.ofPlatform().start(() -> {
                for (int i = 0; i < 10_000; i++) {
                    shared.succeeded(now);
                }
            }));
        }
        for (Thread thread : threads) {
            thread.join();
        }
        int failures = 1;
        while (!shared.failed(now)) {
            failures++;
            shared.succeeded(now);
        }
        // Before failure k there were 40,001 + k - 1 successes: k >= (40,000 + 2 k) / 4.
        assertThat(failures).isEqualTo(20_000);
    }

    @Test
    void failuresThatTheWindowHasLeftDoNotCount() {
        for (int i = 0; i < 9; i++) {
            circuit.succeeded(now);
            circuit.failed(now);
        }
        now += 11 * SECOND;
        for (int i = 0; i < 9; i++) {
            circuit.succeeded(now);
            circuit.succeeded(now);
            assertThat(circuit.failed(now)).isFalse();
        }
    }

    @Test
    void oneTrialAtATimeWhoseSuccessClosesIt() {
        failTimes(5);
        now += SECOND - 1;
        assertThat(circuit.admits(now)).isFalse();
        now++;
        assertThat(circuit.admits(now)).isTrue();
        circuit.started("trial");
        assertThat(circuit.admits(now)).as("one at a time").isFalse();
        circuit.ended("another");
        assertThat(circuit.admits(now)).isFalse();
        circuit.ended("trial");
        assertThat(circuit.admits(now))
                .as("the trial said nothing, its client left")
                .isTrue();
        circuit.started("trial 2");
        assertThat(circuit.succeeded(now)).isTrue();
        assertThat(circuit.state()).isEqualTo(CircuitBreaker.State.CLOSED);
    }

    @Test
    void failedTrialsOpenItForTwiceAsLongUpToALimit() {
        failTimes(5);
        long open = SECOND;
        for (int i = 0; i < 6; i++) {
            now += open - 1;
            assertThat(circuit.admits(now)).as("open for %d ns", open).isFalse();
            now++;
            assertThat(circuit.admits(now)).isTrue();
            circuit.started(i);
            assertThat(circuit.failed(now)).isTrue();
            open = Math.min(2 * open, CircuitBreaker.MAX_OPEN.toNanos());
        }
        assertThat(open).isEqualTo(CircuitBreaker.MAX_OPEN.toNanos());
    }

    @Test
    void lateSuccessesOfAnOpenCircuitDoNotCloseIt() {
        failTimes(5);
        assertThat(circuit.succeeded(now)).isFalse();
        assertThat(circuit.state()).isEqualTo(CircuitBreaker.State.OPEN);
    }

    @Test
    void withoutABreakerItNeverOpens() {
        CircuitBreaker none =
                new CircuitBreaker(HealthConfig.builder().circuitFailures(0).build());
        for (int i = 0; i < 100; i++) {
            none.failed(now);
        }
        none.trip(now);
        assertThat(none.admits(now)).isTrue();
    }
}
