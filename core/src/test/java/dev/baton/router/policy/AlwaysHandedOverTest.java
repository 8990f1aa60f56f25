package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.node.JsonNodeFactory;

class AlwaysHandedOverTest {
    private record Engine(EngineAddress address, EngineRole role, double weight, int inFlight) implements EngineView {
        @Override
        public EngineLoad load() {
            return EngineLoad.UNKNOWN;
        }
    }

    private static final PolicyRequest REQUEST = new PolicyRequest(JsonNodeFactory.instance.objectNode(), false, "");
    private static final Engine BUSY = new Engine(new EngineAddress("p", 1), EngineRole.PREFILLER, 1, 3);
    private static final Engine IDLE = new Engine(new EngineAddress("p", 2), EngineRole.PREFILLER, 1, 1);
    private static final Engine STRONG = new Engine(new EngineAddress("p", 3), EngineRole.PREFILLER, 4, 5);
    private static final Engine DECODER = new Engine(new EngineAddress("d", 1), EngineRole.DECODER, 1, 0);

    /// Answers every request by one route.
    private record Fixed(boolean direct) implements RoutingPolicy {
        @Override
        public <E extends EngineView> Optional<Decision<E>> route(
                PolicyRequest request, List<E> prefillers, List<E> decoders) {
            return decoders.isEmpty()
                    ? Optional.empty()
                    : Optional.of(Decision.of(
                            direct
                                    ? new Route.Direct<>(decoders.getFirst())
                                    : new Route.Disaggregated<>(prefillers.getFirst(), decoders.getFirst()),
                            "fixed"));
        }
    }

    @Test
    void aRouteWithoutAPrefillerGetsTheLeastLoadedForItsWeight() {
        Decision<Engine> decision = new AlwaysHandedOver(new Fixed(true))
                .route(REQUEST, List.of(BUSY, IDLE, STRONG), List.of(DECODER))
                .orElseThrow();
        assertThat(decision.route()).isEqualTo(new Route.Disaggregated<>(STRONG, DECODER));
        assertThat(decision.reason()).isEqualTo("fixed, but its decoders need a prefiller");
    }

    @Test
    void aRouteWithAPrefillerStaysAsItIs() {
        Decision<Engine> decision = new AlwaysHandedOver(new Fixed(false))
                .route(REQUEST, List.of(BUSY, IDLE), List.of(DECODER))
                .orElseThrow();
        assertThat(decision.route()).isEqualTo(new Route.Disaggregated<>(BUSY, DECODER));
        assertThat(decision.reason()).isEqualTo("fixed");
    }

    @Test
    void theOtherPolicyHearsWhatBecomesOfARequest() {
        List<String> heard = new ArrayList<>();
        RoutingPolicy listening = new RoutingPolicy() {
            @Override
            public <E extends EngineView> Optional<Decision<E>> route(
                    PolicyRequest request, List<E> prefillers, List<E> decoders) {
                return Optional.empty();
            }

            @Override
            public void prefilled(PolicyRequest request) {
                heard.add("prefilled");
            }

            @Override
            public void firstToken(PolicyRequest request) {
                heard.add("first token");
            }

            @Override
            public void ended(PolicyRequest request, RouteOutcome outcome) {
                heard.add("ended");
            }

            @Override
            public void forgotten(EngineView engine) {
                heard.add("forgotten");
            }
        };
        AlwaysHandedOver policy = new AlwaysHandedOver(listening);
        policy.prefilled(REQUEST);
        policy.firstToken(REQUEST);
        policy.ended(REQUEST, new RouteOutcome(new Route.Direct<>(DECODER), true, 1, 1, 1, 1, 1, 1));
        policy.forgotten(DECODER);
        assertThat(heard).containsExactly("prefilled", "first token", "ended", "forgotten");
    }

    @Test
    void withoutAPrefillerOrADecoderThereIsNoRoute() {
        AlwaysHandedOver policy = new AlwaysHandedOver(new Fixed(true));
        assertThat(policy.<Engine>route(REQUEST, List.of(), List.of(DECODER))).isEmpty();
        assertThat(policy.<Engine>route(REQUEST, List.of(IDLE), List.of())).isEmpty();
    }
}
