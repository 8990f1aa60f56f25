package dev.baton.discovery;

import dev.baton.http.Json;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Engines under a prefix of etcd, each under a key of its own whose value is as [EngineJson] has it, usually
/// with a lease that the engine keeps alive.
///
/// The prefix is listed once and then followed by revision. While etcd cannot be reached nothing changes; then
/// it goes on where it was, or lists again if etcd has forgotten what happened meanwhile. An etcd that has lost
/// its state (its revision went back, or it is another cluster) does not take the engines along: those that are
/// missing there get two minutes to register again.
///
/// A value that is wrong changes nothing and is told of in the log. One virtual thread. Thread-safe.
public final class EtcdEngines implements EngineSource {
    private static final Logger LOG = LoggerFactory.getLogger(EtcdEngines.class);
    private static final Duration FIRST_PAUSE = Duration.ofMillis(200);
    private static final Duration LONGEST_PAUSE = Duration.ofSeconds(3);
    private static final Duration TURN = Duration.ofSeconds(1);
    private static final Duration GRACE = Duration.ofMinutes(2);

    private final EtcdTarget target;
    private final Duration grace;
    private final Map<String, EngineInfo> engines = new HashMap<>();
    /// Keys that an etcd without its state does not have.
    private final Set<String> missing = new HashSet<>();

    private long missingSinceNanos;
    private long revision;
    private String clusterId = "";
    private boolean isListed;
    private boolean told;
    private Duration pause = FIRST_PAUSE;
    private @Nullable Thread follower;

    /// @param target `etcd://host:2379,host2:2379/prefix`; without a prefix `/baton/engines/`
    /// @throws DiscoveryException if the text is no such target
    public EtcdEngines(String target) {
        this(target, GRACE);
    }

    /// @param grace how long engines may be missing from an etcd that has lost its state
    EtcdEngines(String target, Duration grace) {
        this.target = EtcdTarget.parse(target);
        this.grace = grace;
    }

    @Override
    public void start(EngineListener listener) {
        follower = Thread.ofVirtual().name("baton-etcd").start(() -> {
            try (EtcdClient client = new EtcdClient(target)) {
                follow(client, listener);
            }
        });
    }

    @Override
    public String description() {
        return target.toString();
    }

    @Override
    public void close() {
        Thread running = follower;
        if (running != null) {
            running.interrupt();
            try {
                running.join(Duration.ofSeconds(5));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void follow(EtcdClient client, EngineListener listener) {
        try {
            while (true) {
                try {
                    // A watch from a revision that an etcd without its state has not reached would wait in silence.
                    if (!isListed || hasLostItsState(client.state(target.prefix()))) {
                        list(client, listener);
                    }
                    watch(client, listener);
                } catch (DiscoveryException e) {
                    if (!told) {
                        told = true;
                        LOG.warn("{}; its engines stay as they are", e.getMessage());
                    }
                    dropMissing(listener);
                    Thread.sleep(pause);
                    Duration twice = pause.multipliedBy(2);
                    pause = twice.compareTo(LONGEST_PAUSE) < 0 ? twice : LONGEST_PAUSE;
                }
            }
        } catch (InterruptedException e) {
            LOG.debug("{} is not followed any more", target);
        }
    }

    private void answered() {
        if (told) {
            LOG.info("{} answers again", target);
        }
        told = false;
        pause = FIRST_PAUSE;
    }

    private void list(EtcdClient client, EngineListener listener) throws InterruptedException {
        EtcdClient.Listing listing = client.list(target.prefix());
        answered();
        if (hasLostItsState(listing)) {
            LOG.warn("{} has lost its state: its engines stay for {} s, to register again", target, grace.toSeconds());
            missing.addAll(engines.keySet());
            missingSinceNanos = System.nanoTime();
        }
        Set<String> there = new HashSet<>();
        listing.entries().forEach(entry -> there.add(entry.key()));
        clusterId = listing.clusterId();
        revision = listing.revision();
        isListed = true;
        listing.entries().forEach(entry -> change(entry, listener));
        for (String key : List.copyOf(engines.keySet())) {
            if (!there.contains(key) && !missing.contains(key)) {
                forget(key, "its key is gone", listener);
            }
        }
    }

    private boolean hasLostItsState(EtcdClient.Listing now) {
        return revision > 0 && (!now.clusterId().equals(clusterId) || now.revision() < revision);
    }

    private void watch(EtcdClient client, EngineListener listener) throws InterruptedException {
        try (EtcdClient.Watch watch = client.watch(target.prefix(), revision + 1)) {
            while (true) {
                dropMissing(listener);
                EtcdClient.Changes changes = watch.next(TURN).orElse(null);
                if (changes == null) {
                    continue;
                }
                answered();
                if (changes.compacted()) {
                    isListed = false;
                    return;
                }
                changes.entries().forEach(entry -> change(entry, listener));
                revision = Math.max(revision, changes.revision());
            }
        }
    }

    private void dropMissing(EngineListener listener) {
        if (!missing.isEmpty() && System.nanoTime() - missingSinceNanos > grace.toNanos()) {
            for (String key : List.copyOf(missing)) {
                forget(key, "it did not register again after etcd had lost its state", listener);
            }
        }
    }

    private void change(EtcdClient.Entry entry, EngineListener listener) {
        String key = entry.key();
        if (entry.value().isEmpty()) {
            forget(key, "its key is gone: its lease is over or it has deregistered", listener);
            return;
        }
        EngineInfo engine;
        try {
            engine = EngineJson.parse(Json.parse(entry.value().orElseThrow()));
        } catch (DiscoveryException | Json.MalformedException e) {
            LOG.warn("the value of {} in {} is no engine and changes nothing: {}", key, target, e.getMessage());
            return;
        }
        missing.remove(key);
        EngineInfo before = engines.put(key, engine);
        if (engine.equals(before)) {
            return;
        }
        if (before != null && !before.address().equals(engine.address())) {
            leave(before.address(), "its key names another engine now", listener);
        }
        listener.joined(engine);
    }

    private void forget(String key, String why, EngineListener listener) {
        missing.remove(key);
        EngineInfo gone = engines.remove(key);
        if (gone != null) {
            leave(gone.address(), why, listener);
        }
    }

    /// Unless another key names the engine as well.
    private void leave(EngineAddress address, String why, EngineListener listener) {
        if (engines.values().stream().noneMatch(engine -> engine.address().equals(address))) {
            listener.left(address, why);
        }
    }

    /// The key under which an engine stands.
    static String key(EtcdTarget target, EngineInfo engine) {
        return target.prefix() + engine.address();
    }

    /// The value under that key.
    static byte[] value(EngineInfo engine) {
        return EngineJson.of(engine).toString().getBytes(StandardCharsets.UTF_8);
    }
}
