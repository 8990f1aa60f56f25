package dev.baton.router;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/// The last requests that could not be handed over whatever the policy says, and why. Thread-safe.
final class HandoffObstacles {
    private static final int KEPT = 256;

    private final Deque<Entry> entries = new ArrayDeque<>(KEPT); // the newest first; guarded by this

    /// One request.
    ///
    /// @param atMillis when, since 1970
    /// @param requestId as engines and logs have it
    /// @param obstacle what the request asks for that a hand-over cannot give
    record Entry(long atMillis, String requestId, String obstacle) {}

    synchronized void met(String requestId, String obstacle) {
        if (entries.size() == KEPT) {
            entries.removeLast();
        }
        entries.addFirst(new Entry(System.currentTimeMillis(), requestId, obstacle));
    }

    /// The newest first.
    synchronized List<Entry> latest() {
        return List.copyOf(entries);
    }
}
