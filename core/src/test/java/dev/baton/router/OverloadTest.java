package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.http.Json;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/// A router before engines that are asked for three times what they can do.
@Timeout(120)
class OverloadTest {
    private static final Duration SERVICE = Duration.ofMillis(20);
    private static final Duration SLO = Duration.ofSeconds(2);

    private record Load(int good, int late, int shed, int other) {}

    /// One prompt at a time, in the order in which they came.
    private static StubEngine.Script oneAtATime() {
        Semaphore engine = new Semaphore(1, true);
        return call -> {
            try {
                engine.acquire();
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
            try {
                Fleet.pause(SERVICE);
            } finally {
                engine.release();
            }
            StubEngine.prefill(call);
        };
    }

    private static Load run(Fleet fleet, double perSecond, Duration time) throws Exception {
        List<CompletableFuture<Integer>> answers = new ArrayList<>();
        long start = System.nanoTime();
        int number = (int) (perSecond * time.toMillis() / 1e3);
        for (int i = 0; i < number; i++) {
            long due = start + (long) (i / perSecond * 1e9);
            while (System.nanoTime() < due) {
                LockSupport.parkNanos(due - System.nanoTime());
            }
            long sent = System.nanoTime();
            answers.add(fleet.client
                    .sendAsync(
                            fleet.request("/v1/completions")
                                    .header("content-type", "application/json")
                                    .POST(HttpRequest.BodyPublishers.ofString(
                                            "{\"prompt\":\"p\",\"max_tokens\":2,\"stream\":true}"))
                                    .build(),
                            HttpResponse.BodyHandlers.ofString())
                    .thenApply(answer -> judge(answer, System.nanoTime() - sent)));
        }
        int[] counts = new int[4];
        for (CompletableFuture<Integer> answer : answers) {
            counts[answer.get(30, TimeUnit.SECONDS)]++;
        }
        return new Load(counts[0], counts[1], counts[2], counts[3]);
    }

    private static int judge(HttpResponse<String> answer, long nanos) {
        if (answer.statusCode() == 503) {
            JsonNode error = Json.parse(answer.body().getBytes(java.nio.charset.StandardCharsets.UTF_8));
            boolean says = answer.headers().firstValueAsLong("retry-after").orElse(0) >= 1
                    && error.at("/error/message").asString("").contains("overloaded");
            return says ? 2 : 3;
        }
        boolean whole = answer.statusCode() == 200 && answer.body().endsWith("data: [DONE]\n\n");
        return whole ? (nanos <= SLO.toNanos() ? 0 : 1) : 3;
    }

    @Test
    void threeTimesTheLoadKeepsTheGoodputAndTheRestIsToldToComeBack() throws Exception {
        try (Fleet fleet = new Fleet(2, 1, config -> config.maxQueueWait(Duration.ofMillis(500)))) {
            fleet.prefillers.forEach(engine -> engine.script = oneAtATime());
            double capacity = 2 * 1e9 / SERVICE.toNanos();
            int shed = run(fleet, capacity, Duration.ofSeconds(2)).shed();
            List<String> rounds = new ArrayList<>(); // one is enough: the machine may have had other work in the others
            boolean kept = false;
            while (!kept && rounds.size() < 4) {
                Load peak = run(fleet, 0.9 * capacity, Duration.ofSeconds(5));
                Load overload = run(fleet, 3 * capacity, Duration.ofSeconds(5));
                assertThat(peak.other() + overload.other()).as("other answers").isZero();
                assertThat(overload.shed()).isPositive();
                rounds.add("%s at the peak, %s at three times the load".formatted(peak, overload));
                shed += peak.shed() + overload.shed();
                kept = overload.good() >= (int) (0.95 * peak.good()) && overload.late() < overload.good() / 20;
            }
            assertThat(kept).as("goodput: %s", rounds).isTrue();
            assertThat(fleet.get("/metrics").body().lines())
                    .contains("baton_router_requests_shed_total " + shed + ".0");
        }
    }
}
