package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/// The fleet: which engines there are, and which of them may be chosen now. Thread-safe.
final class EnginePool {
    /// Loading a large model takes minutes.
    private static final Duration START_GRACE = Duration.ofMinutes(2);

    private final List<Upstream> prefillers;
    private final List<Upstream> decoders;

    EnginePool(StaticEngines engines, Consumer<Upstream> probeNow) {
        prefillers = upstreams(engines.prefillers(), EngineRole.PREFILLER, probeNow);
        decoders = upstreams(engines.decoders(), EngineRole.DECODER, probeNow);
    }

    private static List<Upstream> upstreams(
            List<EngineAddress> addresses, EngineRole role, Consumer<Upstream> probeNow) {
        List<Upstream> result = new ArrayList<>(addresses.size());
        for (EngineAddress address : addresses) {
            result.add(new Upstream(address, role, result.size(), START_GRACE, probeNow));
        }
        return List.copyOf(result);
    }

    List<Upstream> prefillers() {
        return prefillers;
    }

    List<Upstream> decoders() {
        return decoders;
    }

    /// Decoders, then prefillers.
    List<Upstream> all() {
        List<Upstream> all = new ArrayList<>(decoders);
        all.addAll(prefillers);
        return all;
    }

    List<Upstream> availablePrefillers(Set<Upstream> tried) {
        return available(prefillers, tried);
    }

    List<Upstream> availableDecoders(Set<Upstream> tried) {
        return available(decoders, tried);
    }

    /// Those that are up and were not tried yet; where there are none, those that are in doubt.
    private static List<Upstream> available(List<Upstream> engines, Set<Upstream> tried) {
        List<Upstream> up = inState(engines, Upstream.State.UP, tried);
        return up.isEmpty() ? inState(engines, Upstream.State.SUSPECT, tried) : up;
    }

    private static List<Upstream> inState(List<Upstream> engines, Upstream.State state, Set<Upstream> tried) {
        List<Upstream> result = new ArrayList<>(engines.size());
        for (Upstream engine : engines) {
            if (engine.state() == state && !tried.contains(engine)) {
                result.add(engine);
            }
        }
        return result;
    }
}
