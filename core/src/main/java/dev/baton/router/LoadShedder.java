package dev.baton.router;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;

/// Refuses requests early once those admitted would wait too long for their first token.
///
/// By Little's law the wait is the number of requests that wait, divided by the rate at which the fleet gives first
/// tokens. That rate is measured while requests queue up, since only then is it what the fleet can do rather than
/// what it is asked for. So there is room for `rate x longest wait` requests; as long as the rate is not known, for
/// any number. The room is divided evenly among the keys that have requests waiting: a client that floods takes its
/// own part only.
///
/// A request waits until its first bytes go to the client, one that is not streamed until a prefiller has computed
/// its prompt: how long its answer takes after that says nothing about load. Where its decoder computes the prompt
/// as well, nobody sees when that ends, and it waits until its answer is there. Thread-safe.
final class LoadShedder {
    /// Time between two calls of [#measure].
    static final Duration MEASURED_EACH = Duration.ofMillis(250);

    /// The measurement forgets half of what it knows after so many first tokens or seconds, so that it follows a
    /// fleet that grows, shrinks, or gets longer prompts.
    private static final int HALVED_AFTER_TOKENS = 64;

    /// Fewer first tokens say nothing, unless they took the longest wait.
    private static final int ENOUGH_TOKENS = 8;

    private static final double HALVED_AFTER_SECONDS = 30;
    private static final double MIN_SECONDS = 1;

    private final double longestWaitSeconds;
    private final int leastRoom;
    private final AtomicInteger waiting = new AtomicInteger();
    private final Map<String, Integer> waitingByKey = new ConcurrentHashMap<>();
    private final LongAdder firstTokens = new LongAdder();
    private final LongAdder shed = new LongAdder();
    private volatile double rate = Double.NaN; // first tokens a second, NaN until known
    // the measurement; touched by the thread that measures
    private double seconds;
    private double tokens;
    private double calmSeconds;
    private double calmTokens;
    private long measuredNanos;
    private long measuredTokens;
    private boolean queued;

    /// @param longestWait expected wait from which on requests are refused; zero: never
    /// @param leastRoom requests that may wait in any case
    LoadShedder(Duration longestWait, int leastRoom, long nowNanos) {
        this.longestWaitSeconds = longestWait.isZero() ? Double.POSITIVE_INFINITY : longestWait.toNanos() / 1e9;
        this.leastRoom = leastRoom;
        this.measuredNanos = nowNanos;
    }

    /// One request's place among those that wait. Left once, whatever is called how often.
    final class Place {
        private final String key;
        private boolean left;

        private Place(String key) {
            this.key = key;
        }

        /// The fleet has given its first token.
        void served() {
            if (leave()) {
                firstTokens.increment();
            }
        }

        /// It waits no more, and says nothing about the fleet.
        synchronized boolean leave() {
            if (left) {
                return false;
            }
            left = true;
            waiting.decrementAndGet();
            waitingByKey.computeIfPresent(key, (same, number) -> number == 1 ? null : number - 1);
            return true;
        }
    }

    /// Takes a place for a request, unless there is no room.
    ///
    /// @param key the name of the client's key, empty if it has none
    /// @return empty if the request is to be refused
    Optional<Place> admit(String key) {
        int ofKey = waitingByKey.merge(key, 1, Integer::sum);
        if (ofKey > room() / Math.max(1, waitingByKey.size())) {
            waitingByKey.computeIfPresent(key, (same, number) -> number == 1 ? null : number - 1);
            shed.increment();
            return Optional.empty();
        }
        waiting.incrementAndGet();
        return Optional.of(new Place(key));
    }

    /// How many requests may wait.
    double room() {
        double known = rate;
        return Double.isNaN(known) ? Double.POSITIVE_INFINITY : Math.max(leastRoom, known * longestWaitSeconds);
    }

    /// Requests that wait.
    int waiting() {
        return waiting.get();
    }

    /// Requests that were refused, ever.
    long shed() {
        return shed.sum();
    }

    /// When a refused client may try again: once half of those that wait are served.
    Duration retryAfter() {
        double known = rate;
        double wait = Double.isNaN(known) ? 0 : waiting.get() / known / 2;
        return Duration.ofSeconds(Math.clamp((long) Math.ceil(wait), 1, 60));
    }

    /// Measures the rate; called each [#MEASURED_EACH] by one thread at a time.
    synchronized void measure(long nowNanos) {
        double passed = (nowNanos - measuredNanos) / 1e9;
        long total = firstTokens.sum();
        double given = total - measuredTokens;
        boolean wasQueued = queued;
        measuredNanos = nowNanos;
        measuredTokens = total;
        queued = waiting.get() >= leastRoom;
        if (passed <= 0) {
            return;
        }
        if (wasQueued && queued) {
            seconds += passed;
            tokens += given;
            calmSeconds = 0;
            calmTokens = 0;
        } else {
            calmSeconds += passed;
            calmTokens += given;
            if (calmSeconds >= MIN_SECONDS) {
                learnWithoutQueue();
            }
        }
        if (tokens >= ENOUGH_TOKENS || seconds >= Math.max(MIN_SECONDS, longestWaitSeconds)) {
            rate = tokens / seconds;
        }
        if (tokens > HALVED_AFTER_TOKENS || (seconds > HALVED_AFTER_SECONDS && tokens > 2 * ENOUGH_TOKENS)) {
            tokens /= 2;
            seconds /= 2;
        }
    }

    /// What it gave without a queue it can give at least.
    private void learnWithoutQueue() {
        if (calmTokens / calmSeconds > rate) { // false while the rate is not known
            seconds = calmSeconds;
            tokens = calmTokens;
        }
        calmSeconds = 0;
        calmTokens = 0;
    }
}
