package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import java.io.IOException;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Requests of the router's own go through engines that are new.
@Timeout(60)
class PairWarmUpTest {
    private static Fleet warming(int prefillers) throws IOException {
        return new Fleet(prefillers, 1, config -> config.warmUp(true));
    }

    private static void introduce(Fleet fleet) {
        fleet.engines().forEach(engine -> engine.peer = peer(engine, "first"));
    }

    private static String peer(StubEngine engine, String start) {
        return "{\"remote_engine_id\":\"" + engine.address() + start + "\",\"remote_host\":\"h\",\"remote_port\":1}";
    }

    private static List<StubEngine.Received> completions(StubEngine engine) {
        return engine.received.stream()
                .filter(request -> request.path().equals("/v1/completions"))
                .toList();
    }

    private static void awaitReady(Fleet fleet) {
        await().atMost(Duration.ofSeconds(20))
                .until(() -> fleet.engines().stream()
                                .noneMatch(engine -> completions(engine).isEmpty())
                        && fleet.get("/ready").statusCode() == 200);
    }

    private static List<String> prompts(StubEngine engine) {
        return completions(engine).stream()
                .map(request -> request.json().get("prompt").toString())
                .toList();
    }

    @Test
    void requestsGoThroughBothLegsAndTheRouterCountsNoneOfThem() throws Exception {
        try (Fleet fleet = warming(1)) {
            introduce(fleet);
            awaitReady(fleet);
            List<String> prompts = prompts(fleet.decoder(0));
            assertThat(prompts).hasSizeGreaterThanOrEqualTo(4).doesNotHaveDuplicates();
            assertThat(prompts(fleet.prefiller(0))).isEqualTo(prompts);
            assertThat(completions(fleet.decoder(0)))
                    .allMatch(request -> request.json()
                            .at("/kv_transfer_params/do_remote_prefill")
                            .asBoolean(false));
            assertThat(fleet.decoder(0).received)
                    .anyMatch(request -> request.path().equals("/v1/chat/completions"));
            assertThat(fleet.get("/metrics?engines=0").body())
                    .doesNotContain("baton_router_requests_total{")
                    .doesNotContain("baton_router_time_to_first_token_seconds_count{");
            assertThat(fleet.get("/status").body()).doesNotContain("ttft_ms");
        }
    }

    @Test
    void eachEngineIsInOnePairAndThatWhichWasStartedAgainInOneMore() throws Exception {
        try (Fleet fleet = warming(3)) {
            introduce(fleet);
            awaitReady(fleet);
            Set<String> perPrefiller = new HashSet<>();
            fleet.prefillers.forEach(prefiller -> perPrefiller.addAll(prompts(prefiller)));
            assertThat(prompts(fleet.decoder(0))).containsExactlyInAnyOrderElementsOf(perPrefiller);

            List<Integer> before =
                    fleet.engines().stream().map(it -> completions(it).size()).toList();
            fleet.prefiller(1).peer = peer(fleet.prefiller(1), "second");
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> completions(fleet.prefiller(1)).size() > before.get(1));
            awaitReady(fleet);
            assertThat(completions(fleet.prefiller(0))).hasSize(before.get(0));
            assertThat(completions(fleet.prefiller(2))).hasSize(before.get(2));
        }
    }

    /// What is warm then is the process before.
    @Test
    void anEngineThatIsStartedAgainWhileRequestsGoThroughItIsInAnotherPair() throws Exception {
        CountDownLatch end = new CountDownLatch(1);
        try (Fleet fleet = warming(1)) {
            StubEngine prefiller = fleet.prefiller(0);
            prefiller.script = call -> {
                Fleet.awaitEvent(end);
                call.respond(500, "application/json", "{}");
            };
            introduce(fleet);
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> !completions(prefiller).isEmpty());
            prefiller.script = StubEngine::prefill;
            prefiller.peer = peer(prefiller, "second");
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> fleet.decoder(0).introductions.size() == 2);
            end.countDown();
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> fleet.get("/ready").statusCode() == 200);
            assertThat(completions(fleet.decoder(0))).hasSizeGreaterThanOrEqualTo(4);
        }
    }

    @Test
    void nobodyWaitsForThePairOfAnEngineThatHasLeft() throws Exception {
        ChangingEngines engines = new ChangingEngines();
        try (Fleet fleet = new Fleet(1, 1, config -> config.warmUp(true).engines(engines))) {
            StubEngine prefiller = fleet.prefiller(0);
            prefiller.script = StubEngine.Call::stall;
            introduce(fleet);
            engines.listener.joined(EngineInfo.of(prefiller.address(), EngineRole.PREFILLER));
            engines.listener.joined(EngineInfo.of(fleet.decoder(0).address(), EngineRole.DECODER));
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> !completions(prefiller).isEmpty());
            engines.listener.left(prefiller.address(), "the test says so");
            assertThat(fleet.get("/ready").body()).doesNotContain("warming_up");
            int probes = prefiller.probes.get();
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> prefiller.probes.get() > probes + 2 || fleet.router.numLegs() == 0);
            assertThat(fleet.get("/ready").body()).doesNotContain("warming_up");
            assertThat(fleet.decoder(0).introductions).hasSize(1);
            prefiller.kill(); // else its leg ends by a deadline
        }
    }

    @Test
    void anEngineThatFailsIsLeftAloneAndTheRouterIsReady() throws Exception {
        try (Fleet fleet = warming(1)) {
            fleet.prefiller(0).script = call -> call.respond(500, "application/json", "{}");
            introduce(fleet);
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> !completions(fleet.prefiller(0)).isEmpty()
                            && fleet.get("/ready").statusCode() == 200);
            assertThat(completions(fleet.prefiller(0))).hasSize(1);
        }
    }

    @Test
    void aRouterThatIsClosedDoesNotWaitForAnEngineThatIsSilent() throws Exception {
        try (Fleet fleet = warming(1)) {
            fleet.prefiller(0).script = StubEngine.Call::stall;
            introduce(fleet);
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> !completions(fleet.prefiller(0)).isEmpty());
            assertThat(fleet.get("/ready").body()).contains("warming_up");
            long start = System.nanoTime();
            fleet.router.close();
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(4));
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void noneAreSentWhereTheyAreNotWantedOrEnginesAreOfAnotherKind(boolean wanted) throws Exception {
        try (Fleet fleet = new Fleet(1, 1, config -> config.warmUp(wanted))) {
            if (!wanted) {
                introduce(fleet);
                await().atMost(Duration.ofSeconds(20))
                        .until(() -> !fleet.decoder(0).introductions.isEmpty());
            }
            fleet.engines().forEach(engine -> {
                int probes = engine.probes.get();
                await().until(() -> engine.probes.get() > probes + 2);
            });
            assertThat(fleet.get("/ready").statusCode()).isEqualTo(200);
            assertThat(fleet.engines()).allMatch(engine -> engine.received.isEmpty());
        }
    }
}
