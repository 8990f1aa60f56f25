package dev.baton.router;

import dev.baton.http.HttpClient;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.Backend;
import dev.baton.router.policy.PushChoice;
import dev.baton.router.policy.RoutingPolicy;
import java.util.function.BooleanSupplier;

/// What every request needs of its router. Thread-safe.
///
/// @param prefillersAnswer whether prefillers answer requests by themselves at present
record RouterContext(
        RouterConfig config,
        EnginePool pool,
        RoutingPolicy policy,
        PushChoice pushes,
        BooleanSupplier prefillersAnswer,
        Announcements announcements,
        HttpClient client,
        RouterMetrics metrics,
        TtftStats ttft,
        AccessLog accessLog,
        HandoffObstacles obstacles) {

    /// The rules by which two engines hand over, by what they have said of themselves.
    Backend backend(Upstream prefiller, Upstream decoder) {
        return config.backend().between(prefiller.pushes() && decoder.pushes());
    }
}
