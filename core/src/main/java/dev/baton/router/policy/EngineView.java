package dev.baton.router.policy;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;

/// One engine as a policy sees it. Read on any thread; the values move while they are read.
public interface EngineView {
    /// Where it listens; an engine is known by it.
    EngineAddress address();

    /// What it does.
    EngineRole role();

    /// Its share of the traffic against others of its role, over 0. Lower than configured while it is started
    /// slowly.
    double weight();

    /// Legs that this router has in flight on it.
    int inFlight();

    /// What it last said of itself.
    EngineLoad load();
}
