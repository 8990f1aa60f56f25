package dev.baton.router.policy;

import java.util.List;

/// A route, and why it was taken: what `GET /decisions` shows.
///
/// @param route the one taken
/// @param reason in a few words
/// @param considered the routes that were weighed, with their numbers; empty where a policy does not weigh
public record Decision<E extends EngineView>(Route<E> route, String reason, List<Weighed> considered) {
    public Decision {
        considered = List.copyOf(considered);
    }

    /// One route that was weighed.
    ///
    /// @param route its kind and engines, for reading
    /// @param ttftMillis expected time to the first token
    /// @param harmMillis expected delay that it costs the streams that run, summed over their tokens
    /// @param cost what is compared
    public record Weighed(String route, double ttftMillis, double harmMillis, double cost) {}

    /// A decision without weighing.
    public static <E extends EngineView> Decision<E> of(Route<E> route, String reason) {
        return new Decision<>(route, reason, List.of());
    }
}
