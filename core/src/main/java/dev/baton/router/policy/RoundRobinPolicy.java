package dev.baton.router.policy;

import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;

/// Takes prefillers in turn and decoders in turn, independently of each other; the first request goes to the
/// first of each. Thread-safe.
public final class RoundRobinPolicy implements RoutingPolicy {
    private final AtomicInteger nextPrefiller = new AtomicInteger();
    private final AtomicInteger nextDecoder = new AtomicInteger();

    @Override
    public <E extends EngineView> Optional<Decision<E>> route(
            PolicyRequest request, List<E> prefillers, List<E> decoders) {
        if (decoders.isEmpty()) {
            return Optional.empty();
        }
        E decoder = inTurn(decoders, nextDecoder);
        Route<E> route = prefillers.isEmpty()
                ? new Route.Direct<>(decoder)
                : new Route.Disaggregated<>(inTurn(prefillers, nextPrefiller), decoder);
        return Optional.of(Decision.of(route, "in turn"));
    }

    private static <E> E inTurn(List<E> engines, AtomicInteger next) {
        return engines.get(Math.floorMod(next.getAndIncrement(), engines.size()));
    }
}
