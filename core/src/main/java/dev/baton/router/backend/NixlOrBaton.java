package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;

/// Baton's own engines or vLLM with NixlConnector, whichever they are: the rules of [Baton] between two that
/// have said that they push, those of [Nixl] between all others.
public record NixlOrBaton() implements Backend {
    private static final Baton BATON = new Baton();
    private static final Nixl NIXL = new Nixl();

    @Override
    public Backend between(boolean bothPush) {
        return bothPush ? BATON : NIXL;
    }

    @Override
    public Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return NIXL.handoff(prefiller, decoder, requestId);
    }

    @Override
    public boolean prefillersServeAlone() {
        return NIXL.prefillersServeAlone();
    }
}
