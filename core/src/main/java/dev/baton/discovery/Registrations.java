package dev.baton.discovery;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/// Engines that somebody adds and removes by hand or by HTTP, for ever or until a time to live is over without
/// their being added again. Thread-safe.
public final class Registrations implements EngineSource {
    private static final Duration TURN = Duration.ofMillis(100);

    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("baton-registrations").daemon().factory());
    private volatile @Nullable ExpiringFleet fleet;

    @Override
    public void start(EngineListener listener) {
        ExpiringFleet started = new ExpiringFleet(listener);
        fleet = started;
        Future<?> ignored =
                timer.scheduleWithFixedDelay(started::expire, TURN.toMillis(), TURN.toMillis(), TimeUnit.MILLISECONDS);
    }

    /// Adds an engine, or says that it is still there.
    ///
    /// @param timeToLive how long that holds; for ever without
    public void add(EngineInfo engine, Optional<Duration> timeToLive) {
        started().heard(engine, timeToLive);
    }

    /// Removes an engine.
    ///
    /// @return whether it was one of these
    public boolean remove(EngineAddress address) {
        return started().left(address, "it was removed");
    }

    private ExpiringFleet started() {
        ExpiringFleet started = fleet;
        if (started == null) {
            throw new IllegalStateException("registrations are taken once the source has started");
        }
        return started;
    }

    @Override
    public String description() {
        return "registrations";
    }

    @Override
    public void close() {
        timer.shutdownNow();
    }
}
