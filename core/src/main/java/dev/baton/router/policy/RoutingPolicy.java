package dev.baton.router.policy;

import java.util.List;
import java.util.Optional;

/// Chooses the [Route] of a request. Called once for each request, and again with fewer candidates after an engine
/// failed it. Implementations are thread-safe and do not block.
public interface RoutingPolicy {
    /// Chooses a route among the candidates.
    ///
    /// @param prefillers engines that may prefill for others, in the order of the fleet; empty if none is left
    ///     or the request cannot be handed off
    /// @param decoders engines that may decode; one of role `both` is in both lists
    /// @return empty if there is no engine that could answer
    <E extends EngineView> Optional<Decision<E>> route(PolicyRequest request, List<E> prefillers, List<E> decoders);

    /// The prefiller of a request's last route has answered; its decode leg begins now.
    default void prefilled(PolicyRequest request) {}

    /// The decoder of a request's last route fetches what a prefiller of an earlier one has computed, and computes
    /// nothing of the prompt itself.
    default void fetchesOnly(PolicyRequest request) {}

    /// The first bytes of a request's answer have come from its decoder, or those with which another decoder goes
    /// on after a failure.
    default void firstToken(PolicyRequest request) {}

    /// A request has ended, well or not; it had one [#route] at least.
    default void ended(PolicyRequest request, RouteOutcome outcome) {}

    /// An engine has left, or came back empty: what was believed to lie in its cache does not.
    default void forgotten(EngineView engine) {}
}
