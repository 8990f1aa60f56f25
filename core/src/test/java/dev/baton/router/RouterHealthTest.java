package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.Json;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BooleanSupplier;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/// What the router makes of engines that die, come back, hang, fail every request, or say how busy they are.
@Timeout(60)
class RouterHealthTest {
    private static final String REQUEST = "{\"prompt\":\"x\",\"max_tokens\":3}";
    private static final String STREAM = "{\"prompt\":\"x\",\"max_tokens\":3,\"stream\":true}";

    private static UnaryOperator<RouterConfig.Builder> health(UnaryOperator<HealthConfig.Builder> settings) {
        return config -> config.health(settings.apply(HealthConfig.builder().scrapeInterval(Duration.ofMillis(50)))
                .build());
    }

    private static String metrics(long tokens, int running) {
        return """
                # TYPE vllm:num_requests_running gauge
                vllm:num_requests_running{engine="0"} %d
                # TYPE vllm:num_requests_waiting gauge
                vllm:num_requests_waiting{engine="0"} 2
                # TYPE vllm:kv_cache_usage_perc gauge
                vllm:kv_cache_usage_perc{engine="0"} 0.5
                # TYPE vllm:generation_tokens_total counter
                vllm:generation_tokens_total{engine="0"} %d
                """.formatted(running, tokens);
    }

    private static JsonNode engine(Fleet fleet, String role, int index) throws Exception {
        return Json.parse(fleet.get("/status").body().getBytes(StandardCharsets.UTF_8))
                .path(role)
                .path(index);
    }

    /// Up to 200 requests a second; a prefiller dies after a second and is back two seconds later.
    @Test
    void killedPrefillerCostsNoRequestAndIsSoonInFullUseAgain() throws Exception {
        try (Fleet fleet = new Fleet(2, 2, config -> config.probeInterval(Duration.ofSeconds(1)))) {
            StubEngine victim = fleet.prefiller(0);
            Load load = new Load(fleet);
            load.runUntil(Duration.ofSeconds(1), () -> false);
            victim.kill();
            load.runUntil(Duration.ofSeconds(2), () -> false);
            int usedBefore = victim.received.size();
            victim.restart();
            load.runUntil(Duration.ofSeconds(15), () -> victim.received.size() > usedBefore);
            assertThat(victim.received).as("used within 15 s").hasSizeGreaterThan(usedBefore);
            int usedSoon = victim.received.size();
            int sentSoon = load.sent;
            load.runUntil(Duration.ofSeconds(20), () -> load.sent == sentSoon + 100);
            load.awaitAll();
            assertThat(load.failures).isEmpty();
            assertThat(victim.received.size() - usedSoon)
                    .as("of the next %d requests", load.sent - sentSoon)
                    .isGreaterThan((load.sent - sentSoon) / 3);
            assertThat(load.slowestMillis.get())
                    .as("slowest request; most of it is this machine, and no deadline is as short")
                    .isLessThan(15_000);
        }
    }

    /// Clients that send a request each 5 ms and wait for at most 64 answers.
    private static final class Load {
        private final Queue<String> failures = new ConcurrentLinkedQueue<>();
        private final AtomicLong slowestMillis = new AtomicLong();
        private final Semaphore room = new Semaphore(64);
        private final Fleet fleet;
        private final HttpRequest request;
        private int sent;

        private Load(Fleet fleet) {
            this.fleet = fleet;
            this.request = fleet.request("/v1/completions")
                    .header("content-type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(STREAM))
                    .build();
        }

        private void runUntil(Duration time, BooleanSupplier enough) throws InterruptedException {
            long end = System.nanoTime() + time.toNanos();
            while (System.nanoTime() - end < 0 && !enough.getAsBoolean()) {
                send();
                Thread.sleep(5);
            }
        }

        private void send() throws InterruptedException {
            room.acquire();
            sent++;
            long start = System.nanoTime();
            CompletableFuture<?> ignored = fleet.client
                    .sendAsync(request, HttpResponse.BodyHandlers.ofString())
                    .whenComplete((answer, failure) -> {
                        slowestMillis.accumulateAndGet((System.nanoTime() - start) / 1_000_000, Math::max);
                        if (failure != null) {
                            failures.add(failure.toString());
                        } else if (answer.statusCode() != 200 || !answer.body().endsWith("data: [DONE]\n\n")) {
                            failures.add(answer.statusCode() + " " + answer.body());
                        }
                        room.release();
                    });
        }

        private void awaitAll() throws InterruptedException {
            assertThat(room.tryAcquire(64, 20, TimeUnit.SECONDS)).isTrue();
        }
    }

    @Test
    void engineThatFailsEveryRequestIsLeftOutThoughItIsHealthyAndTriedAgain() throws Exception {
        Duration open = Duration.ofMillis(400);
        try (Fleet fleet = new Fleet(1, 2, health(config -> config.circuitOpen(open)))) {
            StubEngine.Script works = fleet.decoder(0).script;
            fleet.decoder(0).script = call -> call.respond(500, "text/plain", "no");
            await().until(() -> {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
                return engine(fleet, "decoders", 0).path("circuit").asString().equals("open");
            });
            long opened = System.nanoTime();
            int tried = fleet.decoder(0).received.size();
            assertThat(tried).isLessThan(20);
            for (int i = 0; i < 10; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(fleet.decoder(0).received.size() - tried)
                    .as("one try each time that the circuit has been open for its time")
                    .isLessThanOrEqualTo(1 + (int) ((System.nanoTime() - opened) / open.toNanos()));
            fleet.decoder(0).script = works;
            await().until(() -> {
                fleet.complete(REQUEST);
                return engine(fleet, "decoders", 0).path("circuit").asString().equals("closed");
            });
        }
    }

    @Test
    void busyEnginesOpenNoCircuit() throws Exception {
        try (Fleet fleet = new Fleet(1, 2)) {
            fleet.decoder(0).script = call -> call.respond(503, "application/json", "{}");
            for (int i = 0; i < 30; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(engine(fleet, "decoders", 0).path("circuit").asString()).isEqualTo("closed");
            assertThat(fleet.decoder(0).received).hasSizeGreaterThan(10);
        }
    }

    @Test
    void engineThatIsHealthyButComputesNothingLosesItsRequestsToAnother() throws Exception {
        try (Fleet fleet = new Fleet(2, 1, health(config -> config.hangTimeout(Duration.ofMillis(400))))) {
            AtomicLong tokens = new AtomicLong(7);
            StubEngine stuck = fleet.prefiller(0);
            stuck.metrics = () -> metrics(tokens.get(), 1);
            StubEngine.Script works = stuck.script;
            stuck.script = StubEngine.Call::stall;
            HttpResponse<String> answer = fleet.complete(REQUEST);
            assertThat(answer.statusCode()).isEqualTo(200);
            assertThat(fleet.prefiller(1).received).hasSize(1);
            JsonNode said = engine(fleet, "prefillers", 0);
            assertThat(said.path("state").asString()).isEqualTo("down");
            assertThat(said.path("reason").asString()).contains("computed nothing");
            for (int i = 0; i < 3; i++) {
                assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            }
            assertThat(stuck.received).as("its probes succeed, it stays down").hasSize(1);
            assertThat(fleet.get("/metrics").body())
                    .containsPattern(
                            "baton_router_engine_hangs\\{engine=\"" + stuck.address() + "\",role=\"prefiller\"} 1.0");
            stuck.script = works;
            stuck.metrics = () -> metrics(tokens.incrementAndGet(), 1);
            await().untilAsserted(() -> {
                fleet.complete(REQUEST);
                assertThat(stuck.received).hasSizeGreaterThan(2);
            });
        }
    }

    @Test
    void engineThatIsSlowButComputesKeepsItsRequests() throws Exception {
        try (Fleet fleet = new Fleet(2, 1, health(config -> config.hangTimeout(Duration.ofSeconds(1))))) {
            AtomicLong tokens = new AtomicLong();
            StubEngine slow = fleet.prefiller(0);
            slow.metrics = () -> metrics(tokens.incrementAndGet(), 1);
            StubEngine.Script works = slow.script;
            slow.script = call -> {
                Fleet.pause(Duration.ofMillis(3_000));
                works.answer(call);
            };
            assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
            assertThat(fleet.prefiller(1).received).isEmpty();
        }
    }

    @Test
    void loadAndSummedMetricsOfTheEnginesAreThere() throws Exception {
        try (Fleet fleet = new Fleet(1, 2, health(config -> config))) {
            fleet.decoder(0).metrics = () -> metrics(30, 3);
            fleet.decoder(1).metrics = () -> metrics(12, 1);
            await().untilAsserted(() -> assertThat(fleet.get("/metrics").body())
                    .contains("vllm:generation_tokens_total{engine=\"0\",role=\"decoder\"} 42.0")
                    .contains("vllm:num_requests_running{engine=\"0\",role=\"decoder\"} 4.0")
                    .contains("vllm:kv_cache_usage_perc{engine=\"0\",address=\""
                            + fleet.decoder(0).address() + "\",role=\"decoder\"} 0.5"));
            assertThat(fleet.get("/metrics?engines=0").body())
                    .doesNotContain("vllm:")
                    .contains("baton_router_engine_up");
            JsonNode load = engine(fleet, "decoders", 0).path("load");
            assertThat(load.path("running").asInt()).isEqualTo(3);
            assertThat(load.path("waiting").asInt()).isEqualTo(2);
            assertThat(load.path("kv_cache_usage").asDouble()).isEqualTo(0.5);
            assertThat(engine(fleet, "prefillers", 0).has("load")).isFalse();
        }
    }

    /// A host whose packets vanish: its queue of connections is full, so that the kernel drops further ones.
    @Test
    void hostThatSaysNothingAtAllCostsAShortWaitAndOnlyOnce() throws Exception {
        Duration connect = Duration.ofSeconds(3);
        List<Socket> filling = new ArrayList<>();
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            boolean full = false;
            for (int i = 0; i < 20 && !full; i++) {
                Socket socket = new Socket();
                filling.add(socket);
                try {
                    socket.connect(silent.getLocalSocketAddress(), 300);
                } catch (SocketTimeoutException e) {
                    full = true;
                }
            }
            assumeTrue(full, "this kernel does not drop connections of a full queue");
            EngineAddress gone = new EngineAddress("127.0.0.1", silent.getLocalPort());
            ChangingEngines engines = new ChangingEngines();
            try (Fleet fleet = new Fleet(
                    1,
                    1,
                    config -> config.engines(engines)
                            .deadlines(Fleet.PATIENT.withConnect(connect))
                            .probeInterval(Duration.ofSeconds(30)))) {
                engines.listener.joined(EngineInfo.of(gone, EngineRole.PREFILLER));
                engines.listener.joined(EngineInfo.of(fleet.prefiller(0).address(), EngineRole.PREFILLER));
                engines.listener.joined(EngineInfo.of(fleet.decoder(0).address(), EngineRole.DECODER));
                long start = System.nanoTime();
                for (int i = 0; i < 6; i++) {
                    assertThat(fleet.complete(REQUEST).statusCode()).isEqualTo(200);
                }
                assertThat(Duration.ofNanos(System.nanoTime() - start))
                        .as("one wait of 3 s for all, and this machine")
                        .isLessThan(connect.multipliedBy(2));
                assertThat(fleet.prefiller(0).received).hasSize(6);
                assertThat(fleet.get("/metrics").body()).doesNotContain("baton_router_prefill_fallbacks_total{");
            }
        } finally {
            for (Socket socket : filling) {
                socket.close();
            }
        }
    }

    /// What engines of both kinds do: whichever leg comes.
    private static void either(StubEngine.Call call) throws IOException {
        if (call.request.json().at("/kv_transfer_params/do_remote_decode").asBoolean(false)) {
            StubEngine.prefill(call);
        } else {
            StubEngine.decode(call);
        }
    }

    @Test
    void noRequestNoticesEnginesThatJoinLeaveDrainAndChangeTheirRoles() throws Exception {
        ChangingEngines engines = new ChangingEngines();
        try (Fleet fleet = new Fleet(3, 3, config -> config.engines(engines))) {
            List<EngineAddress> changing = new ArrayList<>();
            for (StubEngine engine : fleet.engines()) {
                engine.script = RouterHealthTest::either;
                engines.listener.joined(EngineInfo.of(engine.address(), EngineRole.BOTH));
                changing.add(engine.address());
            }
            changing.removeLast(); // one stays
            Load load = new Load(fleet);
            AtomicBoolean stop = new AtomicBoolean();
            List<Thread> threads = new ArrayList<>();
            for (int t = 0; t < 2; t++) {
                Random random = new Random(t);
                threads.add(Thread.ofPlatform().start(() -> {
                    while (!stop.get()) {
                        EngineAddress address = changing.get(random.nextInt(changing.size()));
                        if (random.nextInt(4) == 0) {
                            engines.listener.left(address, "churn");
                        } else {
                            EngineRole role = EngineRole.values()[random.nextInt(3)];
                            engines.listener.joined(EngineInfo.of(address, role).withWeight(1 + random.nextInt(3)));
                        }
                        Fleet.pause(Duration.ofMillis(2));
                    }
                }));
            }
            load.runUntil(Duration.ofSeconds(2), () -> false);
            load.runUntil(Duration.ofSeconds(20), () -> load.sent > 50);
            stop.set(true);
            for (Thread thread : threads) {
                thread.join();
            }
            load.awaitAll();
            assertThat(load.failures).isEmpty();
            assertThat(load.sent).isGreaterThan(50);
        }
    }
}
