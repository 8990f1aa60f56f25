package dev.baton.discovery;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Several sources as one: an engine is there while one of them says so. Where they describe it differently, the
/// first of them is believed. Thread-safe.
public final class CompositeSource implements EngineSource {
    private static final Logger LOG = LoggerFactory.getLogger(CompositeSource.class);

    private final List<EngineSource> sources;
    private final Map<EngineAddress, NavigableMap<Integer, EngineInfo>> said = new HashMap<>(); // guarded by this

    /// @param sources the one that is believed first comes first; those of a composite take its place
    public CompositeSource(List<? extends EngineSource> sources) {
        this.sources = sources.stream()
                .<EngineSource>mapMulti((source, into) -> {
                    if (source instanceof CompositeSource several) {
                        several.sources.forEach(into);
                    } else {
                        into.accept(source);
                    }
                })
                .toList();
    }

    @Override
    public void start(EngineListener listener) {
        for (int i = 0; i < sources.size(); i++) {
            try {
                sources.get(i).start(new Part(i, listener));
            } catch (RuntimeException e) {
                sources.subList(0, i).forEach(EngineSource::close);
                throw e;
            }
        }
    }

    @Override
    public List<EngineInfo> fixed() {
        return sources.stream().flatMap(source -> source.fixed().stream()).toList();
    }

    /// What the sources are that say that an engine is there.
    public synchronized List<String> whoSays(EngineAddress address) {
        return said.getOrDefault(address, new TreeMap<>()).keySet().stream()
                .map(index -> sources.get(index).description())
                .toList();
    }

    @Override
    public String description() {
        return sources.isEmpty()
                ? "no engine yet"
                : sources.stream().map(EngineSource::description).collect(Collectors.joining(" and "));
    }

    @Override
    public void close() {
        for (EngineSource source : sources) {
            try {
                source.close();
            } catch (RuntimeException e) {
                LOG.warn("{} did not end in order", source.description(), e);
            }
        }
    }

    /// One source's view of the engines. Reports under the lock, so that the listener hears things in their order.
    private final class Part implements EngineListener {
        private final int index;
        private final EngineListener listener;

        private Part(int index, EngineListener listener) {
            this.index = index;
            this.listener = listener;
        }

        @Override
        public void joined(EngineInfo engine) {
            synchronized (CompositeSource.this) {
                NavigableMap<Integer, EngineInfo> parts =
                        said.computeIfAbsent(engine.address(), address -> new TreeMap<>());
                @Nullable
                EngineInfo before = parts.isEmpty() ? null : parts.firstEntry().getValue();
                parts.put(index, engine);
                tell(before, parts);
            }
        }

        @Override
        public void left(EngineAddress address, String why) {
            synchronized (CompositeSource.this) {
                NavigableMap<Integer, EngineInfo> parts = said.get(address);
                if (parts == null) {
                    return;
                }
                @Nullable EngineInfo before = parts.firstEntry().getValue();
                if (parts.remove(index) == null) {
                    return;
                }
                if (parts.isEmpty()) {
                    said.remove(address);
                    listener.left(address, why);
                } else {
                    tell(before, parts);
                }
            }
        }

        private void tell(@Nullable EngineInfo before, NavigableMap<Integer, EngineInfo> parts) {
            EngineInfo now = parts.firstEntry().getValue();
            if (!now.equals(before)) {
                listener.joined(now);
            }
        }
    }
}
