package dev.baton.discovery;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/// Roles and weights that an operator has set at run time, which go before what the sources say. Stands between the
/// sources and who is told of engines.
///
/// What was set holds until its engine leaves or its source says something new about that very thing. Thread-safe.
public final class FleetOverrides implements EngineListener {
    private record Entry(EngineInfo announced, Optional<EngineRole> role, Optional<Double> weight) {
        EngineInfo effective() {
            EngineInfo engine = role.map(announced::withRole).orElse(announced);
            return weight.map(engine::withWeight).orElse(engine);
        }

        Entry announcedAs(EngineInfo changed) {
            return new Entry(
                    changed,
                    role.filter(set -> changed.role() == announced.role()),
                    weight.filter(set -> changed.weight() == announced.weight()));
        }
    }

    private final EngineListener listener;
    private final Map<EngineAddress, Entry> entries = new HashMap<>(); // guarded by this

    /// @param listener told of engines as they are to be used
    public FleetOverrides(EngineListener listener) {
        this.listener = listener;
    }

    @Override
    public synchronized void joined(EngineInfo engine) {
        @Nullable Entry before = entries.get(engine.address());
        Entry entry =
                before == null ? new Entry(engine, Optional.empty(), Optional.empty()) : before.announcedAs(engine);
        entries.put(engine.address(), entry);
        listener.joined(entry.effective());
    }

    @Override
    public synchronized void left(EngineAddress address, String why) {
        entries.remove(address);
        listener.left(address, why);
    }

    /// Sets an engine's role.
    ///
    /// @return how it is used from now on; nothing if there is no such engine
    public Optional<EngineInfo> setRole(EngineAddress address, EngineRole role) {
        return change(address, entry -> new Entry(entry.announced(), Optional.of(role), entry.weight()));
    }

    /// Sets an engine's weight.
    ///
    /// @return how it is used from now on; nothing if there is no such engine
    /// @throws DiscoveryException if the weight is not over 0 or not finite
    public Optional<EngineInfo> setWeight(EngineAddress address, double weight) {
        return change(address, entry -> new Entry(entry.announced(), entry.role(), Optional.of(weight)));
    }

    private synchronized Optional<EngineInfo> change(EngineAddress address, UnaryOperator<Entry> how) {
        @Nullable Entry before = entries.get(address);
        if (before == null) {
            return Optional.empty();
        }
        Entry entry = how.apply(before);
        EngineInfo effective = entry.effective();
        entries.put(address, entry);
        listener.joined(effective);
        return Optional.of(effective);
    }
}
