package dev.baton.router.policy;

import dev.baton.discovery.EngineAddress;

/// What a policy knows of one engine beyond its [EngineView]: the work that it was given, and how fast it was with
/// earlier work. Not thread-safe: used under the policy's lock.
///
/// An engine's prefills are taken to run one behind the other. So one that ends took the time since the one before
/// ended, or since it came, whichever is later.
final class EngineState {
    private static final double NANOS_PER_MILLI = 1e6;

    /// How far back the share of time goes that prefills take.
    private static final double MEMORY_MILLIS = 20_000;

    private static final double MOST_BUSY = 0.9;

    /// The engine's number in the prefix index.
    final int slot;

    final String name;
    final long nameHash;
    final EngineCosts costs;

    /// For balancing in turn, by role: prefilling, decoding.
    final double[] turns = new double[2];

    /// Share of what was believed to lie in its cache that it found there.
    double trust = 1;

    private int prefills;
    private double prefillMillis;
    private long prefillsSinceNanos;
    private double prefilledMillis;
    private double lateMillis;
    private long lateNanos;
    private double storedTokens;
    private double capacityTokens = Double.POSITIVE_INFINITY;

    private long saidAtNanos;
    private int foreignWaiting;
    private int foreignRunning;
    private int lastForeignWaiting;
    private int lastForeignRunning;

    private int assigned;
    private int streams;
    private double streamMillis;
    private long streamsSinceNanos;
    private double tokensOnTheWay;

    EngineState(EngineAddress address, int slot, EngineCosts fleet, long nowNanos) {
        this.slot = slot;
        this.name = address.toString();
        this.nameHash = PromptBlocks.hashOf(name);
        this.costs = new EngineCosts(fleet);
        this.prefillsSinceNanos = nowNanos;
        this.streamsSinceNanos = nowNanos;
        this.lateNanos = nowNanos;
    }

    /// A prefill was sent to it.
    void prefillAssigned(double expectedMillis, long nowNanos) {
        if (prefills++ == 0) {
            prefillsSinceNanos = nowNanos;
        }
        prefillMillis += expectedMillis;
    }

    /// One has ended, well or not.
    ///
    /// @param assignedNanos when it was sent
    /// @return how long it took by itself
    double prefillEnded(double expectedMillis, long assignedNanos, long nowNanos) {
        double took = Math.max(0, nowNanos - Math.max(assignedNanos, prefillsSinceNanos)) / NANOS_PER_MILLI;
        prefills = Math.max(0, prefills - 1);
        prefillMillis = prefills == 0 ? 0 : Math.max(0, prefillMillis - expectedMillis);
        prefillsSinceNanos = nowNanos;
        prefilledMillis += took;
        lateMillis = decayed(nowNanos) + took;
        lateNanos = nowNanos;
        return took;
    }

    private double decayed(long nowNanos) {
        return lateMillis * Math.exp((lateNanos - nowNanos) / NANOS_PER_MILLI / MEMORY_MILLIS);
    }

    /// The share of its time that prefills take of late, 0 to 0.9.
    double prefillShare(long nowNanos) {
        return Math.min(MOST_BUSY, decayed(nowNanos) / MEMORY_MILLIS);
    }

    /// Tokens whose KV cache it has written, since it is known: how old something in its cache is.
    double storedTokens() {
        return storedTokens;
    }

    void stored(double tokens) {
        storedTokens += tokens;
    }

    /// Whether what was stored when so many tokens had been is believed to be there still.
    boolean keeps(double storedBefore) {
        return storedTokens - storedBefore <= capacityTokens;
    }

    /// What was stored then was found, or was not.
    void found(double storedBefore, boolean there) {
        double age = storedTokens - storedBefore;
        if (there && age > capacityTokens) {
            capacityTokens = age;
        } else if (!there && age < capacityTokens) {
            capacityTokens = Double.isInfinite(capacityTokens) ? age : (capacityTokens + age) / 2;
        }
    }

    /// How long a new prefill waits for those before it.
    double waitMillis(long nowNanos) {
        if (prefills == 0) {
            return 0;
        }
        double elapsed = (nowNanos - prefillsSinceNanos) / NANOS_PER_MILLI;
        double first = prefillMillis / prefills;
        return prefillMillis - Math.min(elapsed, 0.9 * first);
    }

    int prefills() {
        return prefills;
    }

    /// Milliseconds of prefills, since it is known.
    double prefilledMillis() {
        return prefilledMillis;
    }

    void decodeAssigned() {
        assigned++;
    }

    void decodeEnded() {
        assigned = Math.max(0, assigned - 1);
    }

    /// It said how busy it is. Its word is older than what is known of the requests that this router sent, so
    /// it only counts for others' requests, and only for those that it told of twice in a row.
    void said(EngineLoad load) {
        if (load.known() && load.atNanos() != saidAtNanos) {
            saidAtNanos = load.atNanos();
            int waiting = Math.max(0, load.waiting() - prefills);
            int running = Math.max(0, load.running() - streams);
            foreignWaiting = Math.min(waiting, lastForeignWaiting);
            foreignRunning = Math.min(running, lastForeignRunning);
            lastForeignWaiting = waiting;
            lastForeignRunning = running;
        }
    }

    /// Requests that others sent and that wait.
    int foreignWaiting() {
        return foreignWaiting;
    }

    /// Requests that others sent and that it writes.
    int foreignRunning() {
        return foreignRunning;
    }

    /// Answers that it writes or will write.
    int assigned() {
        return assigned;
    }

    void streamStarted(long nowNanos) {
        countStreams(nowNanos);
        streams++;
    }

    void streamEnded(long nowNanos) {
        countStreams(nowNanos);
        streams = Math.max(0, streams - 1);
    }

    private void countStreams(long nowNanos) {
        streamMillis += streams * (nowNanos - streamsSinceNanos) / NANOS_PER_MILLI;
        streamsSinceNanos = nowNanos;
    }

    /// Answers that it writes now.
    int streams() {
        return streams;
    }

    /// The integral of [#streams] over time.
    double streamMillis(long nowNanos) {
        countStreams(nowNanos);
        return streamMillis;
    }

    void transferStarted(double tokens) {
        tokensOnTheWay += tokens;
    }

    void transferEnded(double tokens) {
        tokensOnTheWay = Math.max(0, tokensOnTheWay - tokens);
    }

    /// Tokens whose KV cache is fetched by it now.
    double tokensOnTheWay() {
        return tokensOnTheWay;
    }
}
