package dev.baton.serving;

import dev.baton.engine.EngineStats;
import java.util.Locale;
import java.util.Optional;

/// Writes vLLM's line of statistics while there is traffic, and once more after it. One thread.
final class StatsLog {
    private final boolean withConnector;
    private EngineStats last;
    private long lastNanos;
    private boolean wasActive;

    /// @param withConnector whether KV blocks are exchanged, so that the line has a part on it
    StatsLog(EngineStats start, long nowNanos, boolean withConnector) {
        this.last = start;
        this.lastNanos = nowNanos;
        this.withConnector = withConnector;
    }

    /// The line for the time since the last call; empty while nothing happens.
    Optional<String> line(EngineStats now, long nowNanos) {
        double seconds = Math.max(1e-9, (nowNanos - lastNanos) / 1e9);
        double prompt = (now.promptTokens() - last.promptTokens()) / seconds;
        double generation = (now.generationTokens() - last.generationTokens()) / seconds;
        boolean active = prompt > 0 || generation > 0 || now.numRunning() > 0 || now.numWaiting() > 0;
        boolean write = active || wasActive;
        last = now;
        lastNanos = nowNanos;
        wasActive = active;
        if (!write) {
            return Optional.empty();
        }
        String external = withConnector
                ? String.format(
                        Locale.ROOT,
                        ", External prefix cache hit rate: %.1f%%",
                        percent(now.externalHitTokens(), now.externalQueriedTokens()))
                : "";
        return Optional.of(String.format(
                Locale.ROOT,
                "Engine 000: Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f tokens/s, "
                        + "Running: %d reqs, Waiting: %d reqs, GPU KV cache usage: %.1f%%, "
                        + "Prefix cache hit rate: %.1f%%%s",
                prompt,
                generation,
                now.numRunning(),
                now.numWaiting(),
                100 * ServingMetrics.usage(now),
                percent(now.prefixCacheHitTokens(), now.prefixCacheQueriedTokens()),
                external));
    }

    private static double percent(long part, long all) {
        return all == 0 ? 0 : 100.0 * part / all;
    }
}
