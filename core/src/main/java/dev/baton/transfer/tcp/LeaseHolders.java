package dev.baton.transfer.tcp;

import dev.baton.wire.Threads;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Which decoder asked for which lease last. A decoder that has lost all its connections and does not come back
/// soon is gone, and with it the need for its leases, which would otherwise hold their blocks until they run
/// out.
///
/// Thread-safe.
final class LeaseHolders {
    private static final Logger LOG = LoggerFactory.getLogger(LeaseHolders.class);

    /// A decoder whose connection broke connects again at once if it lives, and a router that knows that it
    /// does not has another one come for the blocks.
    private static final Duration GRACE = Duration.ofSeconds(1);

    private static final int SLACK = 64;

    private final PushedPrompts prompts;
    private final ScheduledThreadPoolExecutor timer;
    private final Map<String, Integer> connections = new HashMap<>(); // by engine id; guarded by this
    private final Map<String, String> holders = new HashMap<>(); // engine ids by lease; guarded by this

    LeaseHolders(PushedPrompts prompts, ScheduledThreadPoolExecutor timer) {
        this.prompts = prompts;
        this.timer = timer;
    }

    /// A decoder has one connection more.
    synchronized void connected(String engineId) {
        connections.merge(engineId, 1, Integer::sum);
    }

    /// A decoder asks for a lease that there is.
    synchronized void asked(String engineId, String handle) {
        holders.put(handle, engineId);
        if (holders.size() > 2 * prompts.size() + SLACK) {
            holders.keySet().removeIf(it -> !prompts.isKnown(it));
        }
    }

    /// A decoder has one connection less.
    ///
    /// @param unused whether it was closed here, for want of use
    synchronized void disconnected(String engineId, boolean unused) {
        int left = connections.merge(engineId, -1, Integer::sum);
        if (left > 0) {
            return;
        }
        connections.remove(engineId);
        if (!unused && holders.containsValue(engineId) && !timer.isShutdown()) {
            ScheduledFuture<?> _ = timer.schedule(
                    Threads.surviving("farewell", () -> farewell(engineId)), GRACE.toNanos(), TimeUnit.NANOSECONDS);
        }
    }

    private void farewell(String engineId) {
        List<String> left = new ArrayList<>();
        synchronized (this) {
            if (connections.containsKey(engineId)) {
                return;
            }
            holders.entrySet().removeIf(entry -> {
                boolean its = entry.getValue().equals(engineId);
                if (its && prompts.isKnown(entry.getKey())) {
                    left.add(entry.getKey());
                }
                return its;
            });
            // A decoder that a router sent instead fetches the same lease by its handle.
            left.removeIf(
                    name -> prompts.handle(name).filter(holders::containsKey).isPresent());
        }
        if (!left.isEmpty()) {
            LOG.warn("decoder {} is gone: {} leases that it asked for end", engineId, left.size());
            left.forEach(prompts::abandon);
        }
    }
}
