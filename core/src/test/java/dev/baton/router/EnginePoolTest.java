package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import dev.baton.http.HttpException;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.Route;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/// Which engines may be chosen, and in which order they are.
class EnginePoolTest {
    private static final GenerationRequest REQUEST =
            GenerationRequest.parse(Endpoint.COMPLETIONS, "{}".getBytes(StandardCharsets.UTF_8), "");
    private static final HttpException BROKEN = new HttpException(HttpException.Kind.CLOSED, "broken");
    private static final HttpException REFUSED = new HttpException(HttpException.Kind.CONNECT, "refused");

    private final RecordingWatcher watcher = new RecordingWatcher();
    private final EnginePool pool = new EnginePool(HealthConfig.defaults(), watcher);
    private final RoundRobinPolicy policy = new RoundRobinPolicy();

    EnginePoolTest() {
        StaticEngines.parse(List.of("p1:1", "p2:1", "p3:1"), List.of("d1:1", "d2:1"))
                .start(pool);
        watcher.probed.clear();
    }

    private String next() {
        return policy.route(REQUEST.facts(), pool.availablePrefillers(Set.of()), pool.availableDecoders(Set.of()))
                .map(Decision::route)
                .map(route -> switch (route) {
                    case Route.Disaggregated<Upstream>(Upstream prefiller, Upstream decoder) ->
                        prefiller.address().host() + decoder.address().host();
                    case Route.Direct<Upstream>(Upstream decoder) ->
                        decoder.address().host();
                    case Route.Aggregated<Upstream>(Upstream engine) ->
                        engine.address().host();
                })
                .orElse("none");
    }

    private List<String> next(int count) {
        List<String> routes = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            routes.add(next());
        }
        return routes;
    }

    @Test
    void bothRolesGoRoundIndependently() {
        assertThat(next(7)).containsExactly("p1d1", "p2d2", "p3d1", "p1d2", "p2d1", "p3d2", "p1d1");
    }

    @Test
    void downEnginesAreSkippedAndTheOthersShareEvenly() {
        pool.prefillers().get(1).refused(REFUSED);
        assertThat(next(6)).filteredOn(route -> route.startsWith("p1")).hasSize(3);
        pool.prefillers().get(0).refused(REFUSED);
        pool.prefillers().get(2).refused(REFUSED);
        assertThat(next(2)).containsExactlyInAnyOrder("d1", "d2");
        pool.decoders().forEach(decoder -> decoder.refused(REFUSED));
        assertThat(next()).isEqualTo("none");
        pool.decoders().get(1).probeSucceeded();
        pool.prefillers().get(0).probeSucceeded();
        assertThat(next()).isEqualTo("p1d2");
    }

    @Test
    void suspectIsProbedAtOnceAndChosenOnlyWhereNothingIsUp() {
        Upstream first = pool.decoders().get(0);
        first.broke(BROKEN);
        first.broke(BROKEN);
        assertThat(watcher.probed).containsExactly(first);
        assertThat(next(4)).allMatch(route -> route.endsWith("d2"));
        pool.decoders().get(1).refused(REFUSED);
        assertThat(next()).endsWith("d1");
        first.succeeded();
        assertThat(first.state()).isEqualTo(Upstream.State.UP);
    }

    @Test
    void triedEnginesAreLeftOut() {
        Upstream first = pool.prefillers().get(0);
        assertThat(pool.availablePrefillers(Set.of(first))).hasSize(2).doesNotContain(first);
        assertThat(pool.availablePrefillers(Set.copyOf(pool.prefillers()))).isEmpty();
    }

    @Test
    void lateProbesMeanDownOnlySeveralInARow() {
        Upstream engine = pool.decoders().get(0);
        engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(1), "late");
        engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(1), "late");
        engine.probeSucceeded();
        engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(1), "late");
        assertThat(engine.state()).isEqualTo(Upstream.State.UP);
        engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(1), "late");
        assertThat(engine.state()).isEqualTo(Upstream.State.SUSPECT);
        engine.probeFailed(Upstream.Miss.LATE, 3, Duration.ofSeconds(1), "late");
        assertThat(engine.state()).isEqualTo(Upstream.State.DOWN);
        engine.succeeded();
        assertThat(engine.state()).as("only a probe brings it back").isEqualTo(Upstream.State.DOWN);
    }

    private static void failTimes(Upstream engine, int times) {
        for (int i = 0; i < times; i++) {
            engine.broke(BROKEN);
            engine.probeSucceeded();
        }
    }

    @Test
    void engineWhoseRequestsFailIsLeftOutThoughItsProbesSucceed() {
        Upstream first = pool.prefillers().get(0);
        failTimes(first, 5);
        assertThat(first.state()).isEqualTo(Upstream.State.UP);
        assertThat(next(6)).noneMatch(route -> route.startsWith("p1"));
        assertThat(pool.availablePrefillers(Set.copyOf(pool.prefillers().subList(1, 3))))
                .as("rather than none")
                .containsExactly(first);
    }

    @Test
    void circuitsThatOpenAllAtOnceLeaveNobodyOut() {
        failTimes(pool.prefillers().get(0), 5);
        failTimes(pool.prefillers().get(1), 5);
        assertThat(pool.availablePrefillers(Set.of()))
                .as("one of three would take all the load")
                .containsExactlyInAnyOrderElementsOf(pool.prefillers());
        failTimes(pool.prefillers().get(2), 5);
        assertThat(pool.availablePrefillers(Set.of())).hasSize(3);
    }

    @Test
    void drainedEngineLeavesWhenItsLastRequestEnds() {
        Upstream first = pool.decoders().get(0);
        first.setDraining(true);
        assertThat(first.drained()).isTrue();
        assertThat(next(4)).allMatch(route -> route.endsWith("d2"));
        first.setDraining(false);
        assertThat(next(4)).anyMatch(route -> route.endsWith("d1"));
        assertThat(pool.leaveWhenDrained(first.address(), "scaled down")).isTrue();
        assertThat(watcher.gone).containsExactly(first);
        assertThat(pool.decoders()).doesNotContain(first);
        assertThat(pool.leaveWhenDrained(first.address(), "twice")).isFalse();
    }

    @Test
    void engineThatComesBackKeepsItsNumberUntilItIsForgotten() {
        EngineInfo second = pool.prefillers().get(1).info();
        pool.left(second.address(), "test");
        pool.joined(EngineInfo.of(new EngineAddress("p4", 1), EngineRole.PREFILLER));
        pool.joined(second);
        assertThat(pool.prefillers().stream().map(Upstream::prefillerIndex)).containsExactly(0, 2, 3, 1);
        pool.left(second.address(), "test");
        pool.tidy(System.nanoTime());
        assertThat(watcher.forgotten).isEmpty();
        pool.tidy(System.nanoTime() + Duration.ofMinutes(11).toNanos());
        assertThat(watcher.forgotten).extracting(Upstream::address).containsExactly(second.address());
        pool.joined(EngineInfo.of(new EngineAddress("p5", 1), EngineRole.PREFILLER));
        assertThat(pool.prefillers().getLast().prefillerIndex())
                .as("free again")
                .isEqualTo(1);
    }

    @Test
    void decoderThatBecomesAPrefillerGetsANumberOfItsOwn() {
        EngineInfo decoder = pool.decoders().get(0).info();
        pool.joined(decoder.withRole(EngineRole.PREFILLER));
        assertThat(pool.prefillers()).extracting(Upstream::prefillerIndex).containsExactlyInAnyOrder(0, 1, 2, 3);
        assertThat(pool.decoders()).hasSize(1);
    }

    @Test
    void weightOfAnEngineThatComesBackRises() throws Exception {
        EnginePool quick = new EnginePool(
                HealthConfig.builder().slowStart(Duration.ofSeconds(3)).build(), watcher);
        quick.joined(
                EngineInfo.of(new EngineAddress("h", 1), EngineRole.DECODER).withWeight(2));
        Upstream engine = quick.decoders().getFirst();
        engine.probeSucceeded();
        Thread.sleep(3_001);
        assertThat(engine.weight()).isEqualTo(2);
        engine.refused(REFUSED);
        engine.probeSucceeded();
        assertThat(engine.weight()).isBetween(0.2, 1.9);
        assertThat(watcher.emptied).containsExactly(engine);
        Thread.sleep(3_001);
        assertThat(engine.weight()).isEqualTo(2);
    }

    @Test
    void fleetThatChangesWhileItIsUsedStaysWhole() throws Exception {
        AtomicBoolean stop = new AtomicBoolean();
        Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            int own = t;
            threads.add(Thread.ofPlatform().start(() -> {
                Random random = new Random(own);
                try {
                    while (!stop.get()) {
                        EngineAddress address = new EngineAddress("churn" + random.nextInt(8), 1);
                        EngineRole role = EngineRole.values()[random.nextInt(3)];
                        switch (random.nextInt(4)) {
                            case 0 -> pool.left(address, "churn");
                            case 1 -> pool.leaveWhenDrained(address, "churn");
                            default -> pool.joined(EngineInfo.of(address, role).withWeight(1 + random.nextInt(3)));
                        }
                        for (Upstream engine : pool.availablePrefillers(Set.of())) {
                            assertThat(engine.prefillerIndex()).isNotNegative();
                        }
                        assertThat(pool.availableDecoders(Set.of())).isNotEmpty();
                        assertThat(next()).isNotEqualTo("none");
                        pool.tidy(System.nanoTime());
                    }
                } catch (RuntimeException | Error e) {
                    failures.add(e);
                }
            }));
        }
        Thread.sleep(500);
        stop.set(true);
        for (Thread thread : threads) {
            thread.join();
        }
        assertThat(failures).isEmpty();
        assertThat(pool.all())
                .doesNotHaveDuplicates()
                .extracting(Upstream::address)
                .doesNotHaveDuplicates();
        assertThat(pool.prefillers()).extracting(Upstream::prefillerIndex).doesNotHaveDuplicates();
        assertThat(pool.prefillers().subList(0, 3))
                .extracting(Upstream::prefillerIndex)
                .containsExactly(0, 1, 2);
    }
}
