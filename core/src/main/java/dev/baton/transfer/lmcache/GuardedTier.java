package dev.baton.transfer.lmcache;

import java.io.Closeable;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A tier whose failures are misses: counted, logged once, and left alone for a while, so that a server that is
/// gone costs one timeout now and then and not one for each chunk. Reading and writing fail apart: a store that
/// is full can still be read.
///
/// Thread-safe.
final class GuardedTier implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(GuardedTier.class);

    private final Tier tier;
    private final Counters counters;
    private final Trust reading = new Trust("reading");
    private final Trust writing = new Trust("writing");

    GuardedTier(Tier tier, Counters counters) {
        this.tier = tier;
        this.counters = counters;
    }

    String name() {
        return tier.name();
    }

    boolean contains(String key) {
        return reading.attempt(key, () -> tier.contains(key));
    }

    boolean get(String key, ChunkHead expected, MemorySegment target) {
        return reading.attempt(key, () -> tier.get(key, expected, target));
    }

    /// Hands a chunk to the tier.
    ///
    /// @return whether it was taken
    boolean put(String key, ChunkHead head, MemorySegment chunk) {
        return writing.attempt(key, () -> {
            tier.put(key, head, chunk);
            return true;
        });
    }

    void touch(List<String> keys) {
        tier.touch(keys);
    }

    void disconnect() {
        tier.disconnect();
    }

    @Override
    public void close() {
        tier.close();
    }

    @Override
    public String toString() {
        return name();
    }

    /// One question to the tier.
    @FunctionalInterface
    private interface Question {
        boolean ask() throws IOException;
    }

    /// Whether the tier is asked at all.
    private final class Trust {
        private static final long FIRST_PAUSE_NANOS = 1_000_000_000L;
        private static final long LONGEST_PAUSE_NANOS = 30_000_000_000L;

        private final String what;
        private long pauseNanos; // guarded by this; 0 while all is well
        private long pausedAt; // guarded by this
        private boolean badChunkSeen; // guarded by this

        Trust(String what) {
            this.what = what;
        }

        boolean attempt(String key, Question question) {
            if (isPaused()) {
                return false;
            }
            try {
                boolean answer = question.ask();
                worked();
                return answer;
            } catch (BadChunkException | IllegalArgumentException e) {
                counters.badChunks.increment();
                bad(key, e);
                return false;
            } catch (IOException e) {
                counters.tierFailures.increment();
                failed(e);
                return false;
            }
        }

        private synchronized boolean isPaused() {
            return pauseNanos > 0 && System.nanoTime() - pausedAt < pauseNanos;
        }

        private synchronized void worked() {
            if (pauseNanos > 0) {
                pauseNanos = 0;
                LOG.info("{}: {} works again", tier.name(), what);
            }
        }

        private synchronized void failed(IOException e) {
            if (pauseNanos == 0) {
                LOG.warn(
                        "{}: {} fails; its chunks are misses until it works again: {}",
                        tier.name(),
                        what,
                        e.toString());
            }
            pauseNanos = Math.clamp(2 * pauseNanos, FIRST_PAUSE_NANOS, LONGEST_PAUSE_NANOS);
            pausedAt = System.nanoTime();
            LOG.debug("{} is left alone for {} s", tier.name(), TimeUnit.NANOSECONDS.toSeconds(pauseNanos));
        }

        private synchronized void bad(String key, Exception e) {
            if (badChunkSeen) {
                LOG.debug("{}: {} is not used: {}", tier.name(), key, e.getMessage());
            } else {
                LOG.warn("{}: {} is not used, nor are others like it: {}", tier.name(), key, e.getMessage());
                badChunkSeen = true;
            }
        }
    }
}
