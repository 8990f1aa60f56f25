package dev.baton.router.backend;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/// Who waits for which announcement. Thread-safe.
final class Expectations {
    private final Map<String, Waiter> waiters = new ConcurrentHashMap<>();

    private record Waiter(AtomicInteger missing, Runnable heard) {}

    /// As [Announcements#expect].
    Announcements.Expectation expect(String id, int times, Runnable heard) {
        Waiter waiter = new Waiter(new AtomicInteger(times), heard);
        waiters.put(id, waiter);
        return () -> waiters.remove(id, waiter);
    }

    /// Something was announced.
    ///
    /// @return whether somebody waits for it
    boolean announced(String id) {
        Waiter waiter = waiters.get(id);
        if (waiter == null) {
            return false;
        }
        if (waiter.missing().decrementAndGet() == 0 && waiters.remove(id, waiter)) {
            waiter.heard().run();
        }
        return true;
    }

    /// Waits that are not over.
    int size() {
        return waiters.size();
    }
}
