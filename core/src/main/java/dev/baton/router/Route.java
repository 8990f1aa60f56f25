package dev.baton.router;

/// The way of one request through the fleet.
sealed interface Route {
    /// Where the answer comes from.
    Upstream decoder();

    /// The decoder computes the prompt itself.
    record Direct(Upstream decoder) implements Route {}

    /// The prefiller computes the prompt, the decoder fetches the KV cache and generates.
    record Disaggregated(Upstream prefiller, Upstream decoder) implements Route {}
}
