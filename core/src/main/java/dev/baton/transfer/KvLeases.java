package dev.baton.transfer;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/// The leases that a prefiller has given: who may read which blocks, and until when.
///
/// Semantics of vLLM's NIXL connector (vllm#38027): a lease lasts `duration`, each heartbeat puts its deadline to
/// at least `extension` from now, a release ends it. Only a monotonic clock is used. Each lease is reported exactly
/// once, as [KvEvent.LeaseReleased] or [KvEvent.LeaseExpired], when nobody reads its blocks any more. Frees nothing
/// and bounds nothing: both are the engine's business.
///
/// Thread-safe.
public final class KvLeases {
    /// Handles of ended leases that are remembered, so that a late decoder learns why.
    private static final int REMEMBERED = 4_096;

    private final long durationNanos;
    private final long extensionNanos;
    private final LongSupplier nanoClock;
    private final Consumer<KvEvent> sink;
    private final AtomicLong generation = new AtomicLong();
    private final AtomicLong expired = new AtomicLong();
    private final Map<String, KvLease> byHandle = new ConcurrentHashMap<>();
    private final Map<String, KvLease> byRequest = new ConcurrentHashMap<>();
    private final Map<String, KvLease.Outcome> ended = Remembered.atMost(REMEMBERED); // guarded by itself

    /// @param nanoClock monotonic, like [System#nanoTime()]
    /// @param sink takes the report of each lease's end
    public KvLeases(Duration duration, Duration extension, LongSupplier nanoClock, Consumer<KvEvent> sink) {
        this.durationNanos = duration.toNanos();
        this.extensionNanos = extension.toNanos();
        this.nanoClock = nanoClock;
        this.sink = sink;
    }

    /// Begins a lease.
    ///
    /// @return empty if there is one for the request already
    public Optional<KvLease> register(String requestId, int[] blockIds, int numTokens) {
        String handle = requestId + "#" + Long.toString(generation.incrementAndGet(), Character.MAX_RADIX);
        long deadline = nanoClock.getAsLong() + durationNanos;
        KvLease lease = new KvLease(requestId, handle, blockIds, numTokens, deadline, this::report);
        if (byRequest.putIfAbsent(requestId, lease) != null) {
            return Optional.empty();
        }
        byHandle.put(handle, lease);
        return Optional.of(lease);
    }

    /// The lease that a decoder asks for, also while it is ending.
    public Optional<KvLease> find(String handle) {
        return Optional.ofNullable(byHandle.get(handle));
    }

    /// The lease on one of this instance's requests.
    public Optional<KvLease> of(String requestId) {
        return Optional.ofNullable(byRequest.get(requestId));
    }

    /// How a lease that is gone ended, if it is remembered.
    public Optional<KvLease.Outcome> ended(String handle) {
        synchronized (ended) {
            return Optional.ofNullable(ended.get(handle));
        }
    }

    /// Begins to read one block of a lease: [KvLease#beginRead] by this clock.
    public boolean beginRead(KvLease lease, Runnable fence) {
        return lease.beginRead(fence, nanoClock.getAsLong());
    }

    /// Lets a decoder copy blocks of a lease by itself: [KvLease#beginLend] by this clock.
    public boolean beginLend(KvLease lease, Runnable fence) {
        return lease.beginLend(fence, nanoClock.getAsLong());
    }

    /// Renews a lease.
    ///
    /// @return false if there is none that is held
    public boolean renew(String handle) {
        KvLease lease = byHandle.get(handle);
        return lease != null && lease.renew(nanoClock.getAsLong(), extensionNanos);
    }

    /// A decoder has read what it wanted. Does nothing if there is no such lease.
    public void release(String handle) {
        KvLease lease = byHandle.get(handle);
        if (lease != null) {
            lease.release();
        }
    }

    /// Nobody comes any more for a lease that is held: it ends as if it had run out. One that is ending waits for
    /// nobody any more. Does nothing if there is none.
    public void abandon(String handle) {
        KvLease lease = byHandle.get(handle);
        if (lease != null) {
            lease.end(KvLease.Outcome.EXPIRED);
        }
    }

    /// Ends the lease on one of this instance's requests, whoever reads. Does nothing if there is none.
    public void drop(String requestId) {
        KvLease lease = byRequest.get(requestId);
        if (lease != null) {
            lease.end(KvLease.Outcome.RELEASED);
        }
    }

    /// Ends the leases that have run out.
    ///
    /// @return nanoseconds until the next one runs out, [Long#MAX_VALUE] if none will
    public long expireDue() {
        long now = nanoClock.getAsLong();
        long next = Long.MAX_VALUE;
        for (KvLease lease : byHandle.values()) {
            lease.expire(now);
            next = Math.min(next, lease.remainingNanos(now));
        }
        return next;
    }

    /// Ends every lease as expired.
    public void expireAll() {
        byHandle.values().forEach(lease -> lease.end(KvLease.Outcome.EXPIRED));
    }

    /// Leases that have not been reported yet.
    public int size() {
        return byHandle.size();
    }

    /// Leases that have run out since the start.
    public long numExpired() {
        return expired.get();
    }

    private void report(KvLease lease) {
        KvLease.Outcome outcome = lease.outcome().orElseThrow();
        synchronized (ended) {
            ended.put(lease.handle(), outcome);
        }
        byHandle.remove(lease.handle());
        byRequest.remove(lease.requestId());
        switch (outcome) {
            case RELEASED -> sink.accept(new KvEvent.LeaseReleased(lease.requestId()));
            case EXPIRED -> {
                expired.incrementAndGet();
                sink.accept(new KvEvent.LeaseExpired(lease.requestId()));
            }
        }
    }
}
