package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.router.policy.Decision;
import dev.baton.router.policy.EngineView;
import dev.baton.router.policy.PolicyRequest;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.RouteOutcome;
import dev.baton.router.policy.RoutingPolicy;
import java.net.Socket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// A client that leaves is felt by both engines within 200 ms, wherever its request is.
@Timeout(60)
class RouterAbortTest {
    private static final Duration LIMIT = Duration.ofMillis(200);
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":3,\"stream\":true}";

    /// One client that leaves.
    @FunctionalInterface
    private interface Departure {
        /// How long it took until everybody knew.
        Duration felt() throws Exception;
    }

    /// Whatever waits for something else than the client's end is late each time; a machine with other work is late
    /// now and then.
    private static void assertFeltInTime(Departure departure) throws Exception {
        List<Duration> times = new ArrayList<>();
        do {
            times.add(departure.felt());
        } while (times.getLast().compareTo(LIMIT) >= 0 && times.size() < 10);
        assertThat(times)
                .last()
                .as("the last of %s", times)
                .satisfies(time -> assertThat(time).isLessThan(LIMIT));
    }

    private static Duration felt(StubEngine engine, long leftNanos) {
        await().pollInterval(Duration.ofMillis(5))
                .untilAsserted(() -> assertThat(engine.disconnects).hasValue(1));
        return Duration.ofNanos(engine.disconnectedNanos.get() - leftNanos);
    }

    private static Duration told(StubEngine prefiller, long leftNanos) {
        await().pollInterval(Duration.ofMillis(5))
                .untilAsserted(() -> assertThat(prefiller.aborts)
                        .singleElement()
                        .satisfies(notice -> assertThat(notice.text())
                                .isEqualTo("{\"request_ids\":[\""
                                        + prefiller.received.element().requestId() + "\"]}")));
        return Duration.ofNanos(System.nanoTime() - leftNanos);
    }

    /// The time until the first has felt it and the second was told.
    private static Duration feltAndTold(StubEngine engine, StubEngine prefiller, long leftNanos) {
        Duration told = told(prefiller, leftNanos);
        Duration felt = felt(engine, leftNanos);
        return told.compareTo(felt) > 0 ? told : felt;
    }

    private static long leave(Socket client) throws Exception {
        long now = System.nanoTime();
        client.close();
        return now;
    }

    /// A large body is parsed off the event loop, which hears of the client's end meanwhile.
    @Test
    void whileTheBodyIsParsed() throws Exception {
        AtomicInteger open = new AtomicInteger();
        RoundRobinPolicy rounds = new RoundRobinPolicy();
        RoutingPolicy counting = new RoutingPolicy() {
            @Override
            public <E extends EngineView> Optional<Decision<E>> route(
                    PolicyRequest request, List<E> prefillers, List<E> decoders) {
                open.incrementAndGet();
                return rounds.route(request, prefillers, decoders);
            }

            @Override
            public void ended(PolicyRequest request, RouteOutcome outcome) {
                open.decrementAndGet();
            }
        };
        try (Fleet fleet = new Fleet(1, 1, config -> config, counting)) {
            fleet.prefiller(0).script = StubEngine.Call::stall;
            String body = "{\"prompt\":[" + "1,".repeat(2_000_000) + "1]}";
            for (int i = 0; i < 5; i++) {
                fleet.startRaw(body).close();
            }
            await().untilAsserted(() -> assertThat(fleet.get("/metrics").body())
                    .containsPattern("baton_router_requests_total\\{[^}]*outcome=\"aborted\"[^}]*} [1-9]"));
            await().untilAsserted(() -> {
                assertThat(fleet.router.numInFlight()).isZero();
                assertThat(fleet.router.numLegs()).isZero();
                assertThat(open).hasValue(0);
            });
        }
    }

    @Test
    void duringPrefill() throws Exception {
        assertFeltInTime(() -> {
            try (Fleet fleet = new Fleet(1, 1)) {
                fleet.prefiller(0).script = StubEngine.Call::stall;
                Socket client = fleet.startRaw(STREAM);
                await().until(() -> !fleet.prefiller(0).received.isEmpty());
                long left = leave(client);
                Duration time = feltAndTold(fleet.prefiller(0), fleet.prefiller(0), left);
                assertThat(fleet.decoder(0).received).isEmpty();
                return time;
            }
        });
    }

    /// Between the legs: the prefiller is done, the decoder has not answered yet.
    @Test
    void beforeTheDecodersAnswer() throws Exception {
        assertFeltInTime(() -> {
            try (Fleet fleet = new Fleet(1, 1)) {
                fleet.decoder(0).script = StubEngine.Call::stall;
                Socket client = fleet.startRaw(STREAM);
                await().until(() -> !fleet.decoder(0).received.isEmpty());
                long left = leave(client);
                return feltAndTold(fleet.decoder(0), fleet.prefiller(0), left);
            }
        });
    }

    /// The client leaves while the prefiller's answer is on its way, so that the router learns of both at about the
    /// same time: in any order, the prefiller is told and the decoder is left alone or aborted.
    @Test
    void whileThePrefillersAnswerIsOnItsWay() throws Exception {
        try (Fleet fleet = new Fleet(1, 1)) {
            for (int i = 0; i < 30; i++) {
                CountDownLatch reached = new CountDownLatch(1);
                CountDownLatch go = new CountDownLatch(1);
                fleet.prefiller(0).received.clear();
                fleet.prefiller(0).aborts.clear();
                fleet.decoder(0).script = StubEngine.Call::stall;
                fleet.prefiller(0).script = call -> {
                    reached.countDown();
                    try {
                        go.await();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                    StubEngine.prefill(call);
                };
                Socket client = fleet.startRaw(STREAM);
                assertThat(reached.await(20, TimeUnit.SECONDS)).isTrue();
                go.countDown();
                client.close();
                await().pollInterval(Duration.ofMillis(5))
                        .untilAsserted(
                                () -> assertThat(fleet.prefiller(0).aborts).hasSize(1));
                await().pollInterval(Duration.ofMillis(5))
                        .untilAsserted(() -> assertThat(fleet.router.numLegs()).isZero());
            }
        }
    }

    @Test
    void beforeAnAnswerThatIsNotStreamed() throws Exception {
        assertFeltInTime(() -> {
            try (Fleet fleet = new Fleet(1, 1)) {
                fleet.decoder(0).script = StubEngine.Call::stall;
                Socket client = fleet.startRaw("{\"prompt\":\"x\"}");
                await().until(() -> !fleet.decoder(0).received.isEmpty());
                long left = leave(client);
                return feltAndTold(fleet.decoder(0), fleet.prefiller(0), left);
            }
        });
    }

    @Test
    void duringAStream() throws Exception {
        assertFeltInTime(() -> {
            try (Fleet fleet = new Fleet(1, 1)) {
                fleet.decoder(0).script = call -> {
                    call.startEvents();
                    call.event("{\"n\":1}");
                    call.stall();
                };
                Socket client = fleet.startRaw(STREAM);
                assertThat(client.getInputStream().read()).isEqualTo('H');
                long left = leave(client);
                Duration time = felt(fleet.decoder(0), left);
                assertThat(fleet.get("/metrics").body()).contains("baton_router_aborts_total{stage=\"stream\"} 1.0");
                return time;
            }
        });
    }

    @Test
    void whileARequestIsPassedOn() throws Exception {
        assertFeltInTime(() -> {
            try (Fleet fleet = new Fleet(0, 1)) {
                fleet.decoder(0).script = StubEngine.Call::stall;
                Socket client = fleet.connect();
                client.getOutputStream()
                        .write("POST /detokenize HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
                                .getBytes(java.nio.charset.StandardCharsets.US_ASCII));
                await().until(() -> !fleet.decoder(0).received.isEmpty());
                long left = leave(client);
                return felt(fleet.decoder(0), left);
            }
        });
    }
}
