package dev.baton.router;

import java.util.List;
import java.util.Optional;

/// Chooses the [Route] of a request. Called once for each request, and again with fewer candidates after an engine
/// failed it. Implementations are thread-safe and do not block.
interface RoutingPolicy {
    /// Chooses a route among the candidates.
    ///
    /// @param prefillers prefillers that may be chosen, in the order of the configuration; empty if none is left or
    ///     the request cannot be handed off
    /// @param decoders decoders that may be chosen
    /// @return empty if there is no decoder
    Optional<Route> route(GenerationRequest request, List<Upstream> prefillers, List<Upstream> decoders);
}
