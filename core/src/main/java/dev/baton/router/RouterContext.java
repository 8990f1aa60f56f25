package dev.baton.router;

import dev.baton.http.HttpClient;
import dev.baton.router.backend.Announcements;
import dev.baton.router.policy.RoutingPolicy;

/// What every request needs of its router. Thread-safe.
record RouterContext(
        RouterConfig config,
        EnginePool pool,
        RoutingPolicy policy,
        Announcements announcements,
        int maxMigrations,
        HttpClient client,
        RouterMetrics metrics,
        TtftStats ttft) {}
