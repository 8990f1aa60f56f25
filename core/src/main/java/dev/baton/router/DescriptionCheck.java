package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import dev.baton.router.backend.Backend;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Says once of each engine that joins what hand-overs need of it and its description lacks. Stands between the
/// sources of engines and the pool, and passes everything on. Thread-safe.
final class DescriptionCheck implements EngineListener {
    private static final Logger LOG = LoggerFactory.getLogger(DescriptionCheck.class);

    private final Backend backend;
    private final EngineListener listener;
    private final Map<EngineAddress, String> said = new ConcurrentHashMap<>();

    DescriptionCheck(Backend backend, EngineListener listener) {
        this.backend = backend;
        this.listener = listener;
    }

    @Override
    public void joined(EngineInfo engine) {
        Optional<String> lack = backend.lacks(engine);
        if (lack.isEmpty()) {
            said.remove(engine.address());
        } else if (!lack.get().equals(said.put(engine.address(), lack.get()))) {
            LOG.warn("{}; it does not count as ready", lack.get());
        }
        listener.joined(engine);
    }

    @Override
    public void left(EngineAddress address, String why) {
        said.remove(address);
        listener.left(address, why);
    }
}
