package dev.baton.serving;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;

/// Knows which sequences of the engine belong to which request id, so that a request can be aborted by its id:
/// while it runs, and on a prefiller also afterwards, while its blocks are held for a decoder. Several requests
/// may carry the same id; all of them are meant then. Thread-safe.
final class RequestRegistry {
    private final Predicate<String> isKnownToEngine;
    // guarded by this
    private final Map<String, Set<String>> engineIds = new HashMap<>();
    private final List<Held> held = new ArrayList<>();

    private record Held(String requestId, String engineId) {}

    /// @param isKnownToEngine whether the engine still runs a sequence or holds its blocks
    RequestRegistry(Predicate<String> isKnownToEngine) {
        this.isKnownToEngine = isKnownToEngine;
    }

    synchronized void add(String requestId, String engineId) {
        engineIds.computeIfAbsent(requestId, id -> new TreeSet<>()).add(engineId);
    }

    /// Forgets a sequence that ended.
    synchronized void remove(String requestId, String engineId) {
        Set<String> ids = engineIds.get(requestId);
        if (ids != null && ids.remove(engineId) && ids.isEmpty()) {
            engineIds.remove(requestId);
        }
    }

    /// Notes that a sequence ended and its blocks are held.
    synchronized void hold(String requestId, String engineId) {
        held.add(new Held(requestId, engineId));
    }

    /// Forgets the held sequences whose blocks the engine has let go of. To be called now and then.
    synchronized void forgetReleased() {
        held.removeIf(each -> {
            boolean released = !isKnownToEngine.test(each.engineId());
            if (released) {
                remove(each.requestId(), each.engineId());
            }
            return released;
        });
    }

    /// The sequences of a request, running or held.
    synchronized List<String> engineIds(String requestId) {
        return new ArrayList<>(engineIds.getOrDefault(requestId, Set.of()));
    }

    synchronized int size() {
        return engineIds.size();
    }
}
