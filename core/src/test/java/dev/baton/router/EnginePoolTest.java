package dev.baton.router;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.discovery.StaticEngines;
import dev.baton.http.HttpException;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.RoundRobinPolicy;
import dev.baton.router.policy.Route;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/// Which engines may be chosen, and in which order they are.
class EnginePoolTest {
    private static final GenerationRequest REQUEST =
            GenerationRequest.parse(Endpoint.COMPLETIONS, "{}".getBytes(StandardCharsets.UTF_8), "");
    private static final HttpException BROKEN = new HttpException(HttpException.Kind.CLOSED, "broken");
    private static final HttpException REFUSED = new HttpException(HttpException.Kind.CONNECT, "refused");

    private final List<Upstream> probed = new ArrayList<>();
    private final List<Upstream> gone = new ArrayList<>();
    private final EnginePool pool = new EnginePool(gone::add, probed::add);
    private final RoundRobinPolicy policy = new RoundRobinPolicy();

    EnginePoolTest() {
        StaticEngines.parse(List.of("p1:1", "p2:1", "p3:1"), List.of("d1:1", "d2:1"))
                .start(pool);
        probed.clear();
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
        assertThat(probed).containsExactly(first);
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
        engine.probeFailed(false, 3, Duration.ofSeconds(1), "late");
        engine.probeFailed(false, 3, Duration.ofSeconds(1), "late");
        engine.probeSucceeded();
        engine.probeFailed(false, 3, Duration.ofSeconds(1), "late");
        engine.probeFailed(false, 3, Duration.ofSeconds(1), "late");
        assertThat(engine.state()).isEqualTo(Upstream.State.UP);
        engine.probeFailed(false, 3, Duration.ofSeconds(1), "late");
        assertThat(engine.state()).isEqualTo(Upstream.State.DOWN);
        engine.succeeded();
        assertThat(engine.state()).as("only a probe brings it back").isEqualTo(Upstream.State.DOWN);
    }
}
