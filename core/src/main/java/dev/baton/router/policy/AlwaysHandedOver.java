package dev.baton.router.policy;

import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/// Another policy's choices for a fleet whose decoders do nothing without a prefiller: where the other would take a
/// route without one, the prefiller with the fewest requests for its weight is put in. Thread-safe.
public final class AlwaysHandedOver implements RoutingPolicy {
    private final RoutingPolicy policy;

    public AlwaysHandedOver(RoutingPolicy policy) {
        this.policy = policy;
    }

    @Override
    public <E extends EngineView> Optional<Decision<E>> route(
            PolicyRequest request, List<E> prefillers, List<E> decoders) {
        if (prefillers.isEmpty()) {
            return Optional.empty();
        }
        return policy.route(request, prefillers, decoders).map(decision -> handedOver(decision, prefillers));
    }

    private static <E extends EngineView> Decision<E> handedOver(Decision<E> decision, List<E> prefillers) {
        if (decision.route() instanceof Route.Disaggregated<E>) {
            return decision;
        }
        E prefiller = prefillers.stream()
                .min(Comparator.comparingDouble((E engine) -> (engine.inFlight() + 1) / engine.weight()))
                .orElseThrow();
        return new Decision<>(
                new Route.Disaggregated<>(prefiller, decision.route().decoder()),
                decision.reason() + ", but its decoders need a prefiller",
                decision.considered());
    }

    @Override
    public void prefilled(PolicyRequest request) {
        policy.prefilled(request);
    }

    @Override
    public void fetchesOnly(PolicyRequest request) {
        policy.fetchesOnly(request);
    }

    @Override
    public void firstToken(PolicyRequest request) {
        policy.firstToken(request);
    }

    @Override
    public void ended(PolicyRequest request, RouteOutcome outcome) {
        policy.ended(request, outcome);
    }

    @Override
    public void forgotten(EngineView engine) {
        policy.forgotten(engine);
    }
}
