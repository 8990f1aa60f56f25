package dev.baton.serving;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.LongSupplier;

/// Knows which sequences of the engine belong to which request id, so that a request can be aborted by its id:
/// while it runs, and on a prefiller also afterwards, while its blocks are held for a decoder. Several requests
/// may carry the same id; all of them are meant then. Thread-safe.
final class RequestRegistry {
    /// Held requests are forgotten after this time; their leases have run out long before.
    private static final Duration HELD_MEMORY = Duration.ofMinutes(10);

    private static final int MAX_HELD = 65_536;

    private final LongSupplier nanoTime;
    // guarded by this
    private final Map<String, Set<String>> engineIds = new HashMap<>();
    private final Deque<Held> held = new ArrayDeque<>();

    private record Held(String requestId, String engineId, long sinceNanos) {}

    /// @param nanoTime [System#nanoTime()], or a clock of a test
    RequestRegistry(LongSupplier nanoTime) {
        this.nanoTime = nanoTime;
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
        long now = nanoTime.getAsLong();
        held.addLast(new Held(requestId, engineId, now));
        while (held.size() > MAX_HELD
                || (!held.isEmpty() && now - held.getFirst().sinceNanos() > HELD_MEMORY.toNanos())) {
            Held oldest = held.removeFirst();
            remove(oldest.requestId(), oldest.engineId());
        }
    }

    /// The sequences of a request, running or held.
    synchronized List<String> engineIds(String requestId) {
        return new ArrayList<>(engineIds.getOrDefault(requestId, Set.of()));
    }

    synchronized int size() {
        return engineIds.size();
    }
}
