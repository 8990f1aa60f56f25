package dev.baton.router.policy;

/// The way of one request through the fleet.
///
/// @param <E> the router's engines, or a simulation's
public sealed interface Route<E extends EngineView> {
    /// Where the answer comes from.
    E decoder();

    /// A decoder computes the prompt itself, because it holds most of it or because nobody else can.
    record Direct<E extends EngineView>(E decoder) implements Route<E> {}

    /// The prefiller computes the prompt, the decoder fetches the KV cache and generates.
    record Disaggregated<E extends EngineView>(E prefiller, E decoder) implements Route<E> {}

    /// Any one engine does both, as if there were no roles.
    record Aggregated<E extends EngineView>(E engine) implements Route<E> {
        @Override
        public E decoder() {
            return engine;
        }
    }
}
