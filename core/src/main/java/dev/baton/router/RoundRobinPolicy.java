package dev.baton.router;

import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;

/// Takes prefillers in turn and decoders in turn, independently of each other; the first request goes to the
/// first of each. Thread-safe.
final class RoundRobinPolicy implements RoutingPolicy {
    private final AtomicInteger nextPrefiller = new AtomicInteger();
    private final AtomicInteger nextDecoder = new AtomicInteger();

    @Override
    public Optional<Route> route(GenerationRequest request, List<Upstream> prefillers, List<Upstream> decoders) {
        if (decoders.isEmpty()) {
            return Optional.empty();
        }
        Upstream decoder = inTurn(decoders, nextDecoder);
        return Optional.of(
                prefillers.isEmpty()
                        ? new Route.Direct(decoder)
                        : new Route.Disaggregated(inTurn(prefillers, nextPrefiller), decoder));
    }

    private static Upstream inTurn(List<Upstream> engines, AtomicInteger next) {
        return engines.get(Math.floorMod(next.getAndIncrement(), engines.size()));
    }
}
