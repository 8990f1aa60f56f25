package dev.baton.discovery;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Engines that have to be heard of again before their time is over. Reports to a listener what changes.
///
/// Thread-safe. Times are those of [System#nanoTime()], so that a clock that is set ends nothing.
final class ExpiringFleet {
    /// Longer between two looks than this, and it was this process that stood still, not the engines.
    private static final long STANDSTILL_NANOS = Duration.ofSeconds(1).toNanos();

    private record Entry(EngineInfo engine, Optional<Duration> timeToLive, long deadlineNanos) {}

    private final EngineListener listener;
    private final Map<EngineAddress, Entry> entries = new LinkedHashMap<>();
    private long lookedNanos = System.nanoTime();

    ExpiringFleet(EngineListener listener) {
        this.listener = listener;
    }

    /// An engine was heard of.
    ///
    /// @param timeToLive how long this holds; for ever without
    synchronized void heard(EngineInfo engine, Optional<Duration> timeToLive) {
        long deadline = System.nanoTime() + timeToLive.map(Duration::toNanos).orElse(0L);
        Entry before = entries.put(engine.address(), new Entry(engine, timeToLive, deadline));
        if (before == null || !before.engine().equals(engine)) {
            listener.joined(engine);
        }
    }

    /// An engine is gone.
    ///
    /// @return whether it was there
    synchronized boolean left(EngineAddress address, String why) {
        boolean known = entries.remove(address) != null;
        if (known) {
            listener.left(address, why);
        }
        return known;
    }

    /// Lets go of those that were not heard of in time; to be called several times a second.
    synchronized void expire() {
        long now = System.nanoTime();
        long gap = now - lookedNanos;
        lookedNanos = now;
        if (gap > STANDSTILL_NANOS) {
            entries.replaceAll(
                    (address, entry) -> new Entry(entry.engine(), entry.timeToLive(), entry.deadlineNanos() + gap));
        }
        List<Entry> over = entries.values().stream()
                .filter(entry -> entry.timeToLive().isPresent() && now - entry.deadlineNanos() > 0)
                .toList();
        for (Entry entry : over) {
            Duration time = entry.timeToLive().orElseThrow();
            left(entry.engine().address(), "it did not register again within " + time.toMillis() + " ms");
        }
    }
}
