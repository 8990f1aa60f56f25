package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The fleet: which engines there are, and which of them may be chosen now. Engines come and go while it is used.
/// Thread-safe.
final class EnginePool implements EngineListener {
    private static final Logger LOG = LoggerFactory.getLogger(EnginePool.class);

    /// Loading a large model takes minutes.
    private static final Duration START_GRACE = Duration.ofMinutes(2);

    private final Map<EngineAddress, Upstream> engines = new LinkedHashMap<>();
    private final Consumer<Upstream> whenGone;
    private final Consumer<Upstream> probeNow;
    private int nextPrefiller;
    private int nextDecoder;
    private volatile List<Upstream> prefillers = List.of();
    private volatile List<Upstream> decoders = List.of();
    private volatile List<Upstream> all = List.of();

    /// @param whenGone told of every engine that has left
    /// @param probeNow asks for a probe out of turn
    EnginePool(Consumer<Upstream> whenGone, Consumer<Upstream> probeNow) {
        this.whenGone = whenGone;
        this.probeNow = probeNow;
    }

    @Override
    public synchronized void joined(EngineInfo engine) {
        Upstream known = engines.get(engine.address());
        if (known == null) {
            int index = engine.role().decodes() ? nextDecoder++ : nextPrefiller++;
            Upstream joined = new Upstream(engine, index, START_GRACE, probeNow);
            engines.put(engine.address(), joined);
            publish();
            probeNow.accept(joined);
        } else if (!known.info().equals(engine)) {
            LOG.info("{} is now {} of weight {}", known, engine.role().word(), engine.weight());
            known.describe(engine);
            publish();
        }
    }

    @Override
    public void left(EngineAddress address, String why) {
        Upstream gone;
        synchronized (this) {
            gone = engines.remove(address);
            publish();
        }
        if (gone != null) {
            LOG.info("{} has left: {}", gone, why);
            whenGone.accept(gone);
        }
    }

    private void publish() {
        List<Upstream> known = List.copyOf(engines.values());
        prefillers = known.stream().filter(engine -> engine.role().prefills()).toList();
        decoders = known.stream().filter(engine -> engine.role().decodes()).toList();
        List<Upstream> decodersFirst = new ArrayList<>(decoders);
        known.stream().filter(engine -> !engine.role().decodes()).forEach(decodersFirst::add);
        all = List.copyOf(decodersFirst);
    }

    Optional<Upstream> find(EngineAddress address) {
        return all.stream().filter(engine -> engine.address().equals(address)).findFirst();
    }

    List<Upstream> prefillers() {
        return prefillers;
    }

    List<Upstream> decoders() {
        return decoders;
    }

    /// Decoders, then prefillers.
    List<Upstream> all() {
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
            if (engine.state() == state && !engine.draining() && !tried.contains(engine)) {
                result.add(engine);
            }
        }
        return result;
    }
}
