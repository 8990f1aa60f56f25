package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineListener;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The fleet: which engines there are, and which of them may be chosen now. Engines come and go while it is used.
/// Thread-safe.
final class EnginePool implements EngineListener {
    private static final Logger LOG = LoggerFactory.getLogger(EnginePool.class);

    /// Who is told of engines that leave.
    interface Watcher extends Upstream.Watcher {
        /// It has left; requests in flight go on.
        void gone(Upstream engine);

        /// It left so long ago, and did not come back, that nothing of it is to be kept.
        void forgotten(Upstream engine);
    }

    /// An engine that has left.
    private record Gone(Upstream engine, long atNanos) {}

    private final HealthConfig config;
    private final Watcher watcher;
    private final Map<EngineAddress, Upstream> engines = new LinkedHashMap<>();
    private final Map<EngineAddress, Gone> gone = new HashMap<>();
    private final Map<EngineAddress, Integer> prefillerIndexes = new HashMap<>();
    private final Map<EngineAddress, Integer> decoderIndexes = new HashMap<>();
    private volatile List<Upstream> prefillers = List.of();
    private volatile List<Upstream> decoders = List.of();
    private volatile List<Upstream> all = List.of();
    private volatile List<Upstream> leaving = List.of();

    EnginePool(HealthConfig config, Watcher watcher) {
        this.config = config;
        this.watcher = watcher;
    }

    @Override
    public void joined(EngineInfo engine) {
        Upstream joined;
        synchronized (this) {
            Upstream known = engines.get(engine.address());
            if (known == null) {
                joined = new Upstream(engine, config, watcher);
                engines.put(engine.address(), joined);
            } else if (known.info().equals(engine)) {
                return;
            } else {
                LOG.info("{} is now {} of weight {}", known, engine.role().word(), engine.weight());
                known.describe(engine);
                joined = known;
            }
            if (engine.role().prefills()) {
                joined.setPrefillerIndex(index(prefillerIndexes, engine.address()));
            }
            if (engine.role().decodes()) {
                joined.setDecoderIndex(index(decoderIndexes, engine.address()));
            }
            publish();
        }
        watcher.probeNow(joined);
    }

    /// The lowest number that no engine has, so that the statistics do not grow with engines that come and go. One
    /// that comes back in time finds its own again.
    private static int index(Map<EngineAddress, Integer> indexes, EngineAddress address) {
        return indexes.computeIfAbsent(address, any -> {
            Set<Integer> taken = new HashSet<>(indexes.values());
            int index = 0;
            while (taken.contains(index)) {
                index++;
            }
            return index;
        });
    }

    @Override
    public void left(EngineAddress address, String why) {
        Upstream left;
        synchronized (this) {
            left = engines.remove(address);
            if (left == null) {
                return;
            }
            gone.put(address, new Gone(left, System.nanoTime()));
            if (left.isInUse()) {
                List<Upstream> more = new ArrayList<>(leaving);
                more.add(left);
                leaving = List.copyOf(more);
            }
            publish();
        }
        LOG.info("{} has left: {}", left, why);
        watcher.gone(left);
    }

    /// An engine is to leave: it gets no new requests, and is gone when those in flight there have ended.
    ///
    /// @return false if it is not known
    boolean leaveWhenDrained(EngineAddress address, String why) {
        Optional<Upstream> engine = find(address);
        engine.ifPresent(found -> found.drain(() -> leftIfStill(found, why)));
        return engine.isPresent();
    }

    /// Another engine may have come to its address since.
    private void leftIfStill(Upstream engine, String why) {
        synchronized (this) {
            if (!engine.equals(engines.get(engine.address()))) {
                return;
            }
        }
        left(engine.address(), why);
    }

    /// Lets go of engines that left a while ago.
    void tidy(long now) {
        if (!leaving.isEmpty()) {
            synchronized (this) {
                leaving = leaving.stream().filter(Upstream::isInUse).toList();
            }
        }
        List<Upstream> forgotten = new ArrayList<>();
        synchronized (this) {
            Iterator<Gone> entries = gone.values().iterator();
            while (entries.hasNext()) {
                Gone entry = entries.next();
                boolean back = engines.containsKey(entry.engine().address());
                if (back || now - entry.atNanos() >= config.forgetAfter().toNanos()) {
                    entries.remove();
                    if (!back) {
                        prefillerIndexes.remove(entry.engine().address());
                        decoderIndexes.remove(entry.engine().address());
                        forgotten.add(entry.engine());
                    }
                }
            }
        }
        forgotten.forEach(watcher::forgotten);
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

    /// Those that have left while requests were in flight on them.
    List<Upstream> leaving() {
        return leaving;
    }

    List<Upstream> availablePrefillers(Set<Upstream> tried) {
        return available(prefillers, tried);
    }

    List<Upstream> availableDecoders(Set<Upstream> tried) {
        return available(decoders, tried);
    }

    /// Those that are up, let requests through, and were not tried yet; where there are none, those that are in
    /// doubt.
    ///
    /// Circuits that open all at once say more of the load than of the engines (sglang#12355): where fewer than
    /// half of those that are up would be left, all of them are, as in Envoy's panic mode.
    private static List<Upstream> available(List<Upstream> engines, Set<Upstream> tried) {
        long now = System.nanoTime();
        List<Upstream> sound = new ArrayList<>(engines.size());
        List<Upstream> doubtful = List.of();
        int numUp = 0;
        int numAdmitting = 0;
        for (Upstream engine : engines) {
            Upstream.State state = engine.state();
            if (engine.draining() || state == Upstream.State.DOWN) {
                continue;
            }
            boolean up = state != Upstream.State.SUSPECT;
            boolean admits = up && engine.admits(now);
            numUp += up ? 1 : 0;
            numAdmitting += admits ? 1 : 0;
            if (tried.contains(engine)) {
                continue;
            }
            if (admits) {
                sound.add(engine);
            } else {
                doubtful = doubtful.isEmpty() ? new ArrayList<>() : doubtful;
                doubtful.add(engine);
            }
        }
        if (sound.isEmpty()) {
            return doubtful;
        }
        if (2 * numAdmitting < numUp) {
            doubtful.stream()
                    .filter(engine -> engine.state() != Upstream.State.SUSPECT)
                    .forEach(sound::add);
        }
        return sound;
    }
}
