package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Queue;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The shedder before a simulated fleet: servers that take the oldest request, each for a random time.
class LoadShedderTest {
    private static final double SLO_SECONDS = 2.0;

    private record Waiting(double arrived, String key, LoadShedder.Place place) {}

    private record Busy(double until, Waiting request) {}

    /// What became of requests, by key: waits in seconds of those served.
    private static final class Result {
        private final Map<String, List<Double>> waits = new HashMap<>();
        private int refused;

        private long good() {
            return waits.values().stream()
                    .flatMap(List::stream)
                    .filter(wait -> wait <= SLO_SECONDS)
                    .count();
        }

        private double p99(String key) {
            double[] sorted = waits.getOrDefault(key, List.of()).stream()
                    .mapToDouble(Double::doubleValue)
                    .sorted()
                    .toArray();
            return TtftStats.percentile(sorted, 99);
        }
    }

    private static LoadShedder shedder(double longestWaitSeconds) {
        return new LoadShedder(Duration.ofMillis((long) (longestWaitSeconds * 1000)), 8, 0);
    }

    /// Poisson arrivals, exponential service.
    ///
    /// @param rates requests a second, by key
    private static Result run(
            LoadShedder shedder, int servers, double meanSeconds, Map<String, Double> rates, double seconds, int seed) {
        Random random = new Random(seed);
        Result result = new Result();
        Queue<Waiting> queue = new ArrayDeque<>();
        PriorityQueue<Busy> busy = new PriorityQueue<>((a, b) -> Double.compare(a.until(), b.until()));
        Map<String, Double> next = new HashMap<>();
        rates.forEach((key, rate) -> next.put(key, -Math.log(1 - random.nextDouble()) / rate));
        double measured = 0;
        while (true) {
            String key = next.entrySet().stream()
                    .min(Map.Entry.comparingByValue())
                    .orElseThrow()
                    .getKey();
            double now = next.get(key);
            if (now > seconds) {
                return result;
            }
            while (measured + 0.25 <= now || (!busy.isEmpty() && busy.peek().until() <= now)) {
                if (!busy.isEmpty() && busy.peek().until() <= measured + 0.25) {
                    Busy done = busy.poll();
                    done.request().place().served();
                    result.waits
                            .computeIfAbsent(done.request().key(), none -> new ArrayList<>())
                            .add(done.until() - done.request().arrived());
                    if (!queue.isEmpty()) {
                        busy.add(new Busy(
                                done.until() - Math.log(1 - random.nextDouble()) * meanSeconds, queue.remove()));
                    }
                } else {
                    measured += 0.25;
                    shedder.measure((long) (measured * 1e9));
                }
            }
            shedder.admit(key)
                    .ifPresentOrElse(
                            place -> {
                                Waiting request = new Waiting(now, key, place);
                                if (busy.size() < servers) {
                                    busy.add(new Busy(now - Math.log(1 - random.nextDouble()) * meanSeconds, request));
                                } else {
                                    queue.add(request);
                                }
                            },
                            () -> result.refused++);
            next.put(key, now - Math.log(1 - random.nextDouble()) / rates.get(key));
        }
    }

    @ParameterizedTest
    @CsvSource({"4, 0.1, 1", "4, 0.1, 2", "16, 0.02, 3", "2, 0.1, 4"})
    void threeTimesTheLoadGivesTheGoodputOfThePeak(int servers, double meanSeconds, int seed) {
        double capacity = servers / meanSeconds;
        double peak = 0;
        for (double load : new double[] {0.8, 0.9, 0.95, 1.0}) {
            peak = Math.max(
                    peak,
                    run(shedder(1), servers, meanSeconds, Map.of("", load * capacity), 600, seed)
                            .good());
        }
        Result overload = run(shedder(1), servers, meanSeconds, Map.of("", 3 * capacity), 600, seed);
        assertThat(overload.good()).isGreaterThanOrEqualTo((long) (0.95 * peak));
        assertThat(overload.refused).isPositive();
        assertThat(overload.p99("")).isLessThan(SLO_SECONDS);
        Result without = run(shedder(0), servers, meanSeconds, Map.of("", 3 * capacity), 600, seed);
        assertThat(without.good()).as("without shedding").isLessThan((long) (0.1 * peak));
    }

    @ParameterizedTest
    @CsvSource({"1", "2", "3"})
    void clientThatFloodsCostsOthersNoRequestAndIsShedAlone(int seed) {
        double capacity = 40;
        Result result = run(shedder(1), 4, 0.1, Map.of("flood", 3 * capacity, "calm", 0.25 * capacity), 300, seed);
        double served = result.waits.get("calm").size();
        assertThat(served).isGreaterThan(0.98 * 0.25 * capacity * 300);
        assertThat(result.p99("calm")).isLessThan(1.5);
        assertThat(result.refused).isGreaterThan((int) (2 * capacity * 300));
    }

    @Test
    void burstAfterAQuietTimeIsNotRefusedForTheQuiet() {
        LoadShedder shedder = shedder(1);
        run(shedder, 4, 0.1, Map.of("", 0.5), 100, 7);
        for (int i = 0; i < 500; i++) {
            assertThat(shedder.admit("")).isPresent();
        }
    }

    @Test
    void longPromptsAreNotTakenForAFleetThatStandsStill() {
        LoadShedder shedder = shedder(30);
        List<LoadShedder.Place> places = new ArrayList<>();
        for (int i = 0; i < 24; i++) {
            places.add(shedder.admit("").orElseThrow());
        }
        for (int tick = 1; tick <= 80; tick++) { // one is served each 2 s: 24 that wait are 48 s of work
            shedder.measure(tick * 250_000_000L);
            if (tick % 8 == 0) {
                places.removeLast().served();
                assertThat(shedder.admit("").isPresent()).isEqualTo(tick < 72);
            }
        }
        for (int tick = 81; tick <= 400; tick++) {
            shedder.measure(tick * 250_000_000L);
        }
        assertThat(shedder.admit("")).as("it stands still").isEmpty();
    }

    @Test
    void fleetThatGetsFasterGetsMoreRoomAndASlowerOneLess() {
        LoadShedder shedder = shedder(1);
        run(shedder, 4, 0.1, Map.of("", 120.0), 60, 1);
        assertThat(shedder.room()).isBetween(30.0, 50.0);
        LoadShedder slower = shedder(1);
        run(slower, 4, 0.4, Map.of("", 120.0), 60, 1);
        assertThat(slower.room()).isBetween(8.0, 14.0);
    }

    @Test
    void placeIsLeftOnceAndRetryComesLater() {
        LoadShedder shedder = shedder(1);
        LoadShedder.Place place = shedder.admit("a").orElseThrow();
        assertThat(shedder.waiting()).isOne();
        place.served();
        place.leave();
        place.served();
        assertThat(shedder.waiting()).isZero();
        assertThat(shedder.retryAfter()).isEqualTo(Duration.ofSeconds(1));
    }
}
