package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.Remembered;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// What decoders may ask a prefiller for, by the name that they know it under: a lease by its handle, or a
/// prompt that is still to be computed by the `transfer_id` that both legs of its request carry, whichever leg
/// comes first.
///
/// Thread-safe; its lock is never held while a lease is changed.
final class PushedPrompts {
    private static final Logger LOG = LoggerFactory.getLogger(PushedPrompts.class);
    private static final int MAX_REMEMBERED = 4_096;

    private final KvCacheSpec spec;
    private final KvLeases leases;
    private final Map<String, PushedPrompt> byTransfer = new ConcurrentHashMap<>();
    private final Map<String, PushedPrompt> byRequest = new ConcurrentHashMap<>();
    /// Why, by transfer id; guarded by this, as is the next one.
    private final Map<String, String> over = Remembered.atMost(MAX_REMEMBERED);
    /// Before they began, by transfer id.
    private final Map<String, String> letGo = Remembered.atMost(MAX_REMEMBERED);
    private @Nullable String closed; // guarded by this

    PushedPrompts(KvCacheSpec spec, KvLeases leases) {
        this.spec = spec;
        this.leases = leases;
    }

    /// What blocks are.
    KvCacheSpec spec() {
        return spec;
    }

    /// Whether a text can be the name of a push: those of leases are others.
    static boolean isTransferId(String text) {
        return Limits.isId(text) && text.indexOf('#') < 0;
    }

    /* The engine's thread. */

    /// A prefill has come; does nothing if it is known.
    void begin(String transferId, KvRequest request) {
        if (byRequest.containsKey(request.requestId())) {
            return;
        }
        PushedPrompt prompt = new PushedPrompt(transferId, request, spec, leases);
        synchronized (this) {
            if (byTransfer.putIfAbsent(transferId, prompt) != null) {
                LOG.warn(
                        "request {}: not pushed: its transfer_id {} is in use already",
                        request.requestId(),
                        transferId);
                return;
            }
            over.remove(transferId);
            if (letGo.remove(transferId) != null) {
                Optional<KvLease> _ = prompt.letGo();
            }
            notifyAll();
        }
        byRequest.put(request.requestId(), prompt);
    }

    /// The prompt of one of this instance's requests, if it is to be pushed.
    Optional<PushedPrompt> of(String requestId) {
        return Optional.ofNullable(byRequest.get(requestId));
    }

    /// Whether there is any.
    boolean isEmpty() {
        return byRequest.isEmpty();
    }

    /// The step that runs has written the keys and values of the layers up to this one.
    void layerComputed(int layer) {
        byRequest.values().forEach(prompt -> prompt.layerComputed(layer));
    }

    /// Nothing more of a request's prompt can be read; does nothing if there is none of that id.
    void end(String requestId, String why) {
        PushedPrompt prompt = byRequest.remove(requestId);
        if (prompt != null) {
            synchronized (this) {
                over.put(prompt.transferId(), why);
                byTransfer.remove(prompt.transferId(), prompt);
            }
            prompt.end(why);
        }
    }

    /// Takes note of the end of leases.
    void take(KvEvent event) {
        switch (event) {
            case KvEvent.LeaseReleased(String requestId) -> end(requestId, "the lease on it was released");
            case KvEvent.LeaseExpired(String requestId) -> end(requestId, "the lease on it has expired");
            case KvEvent.KvArrived _, KvEvent.KvFailed _, KvEvent.KvFirstToken _ -> {}
        }
    }

    /* Other threads. */

    /// Waits for a prefill to come.
    ///
    /// @return empty if it did not come in time
    /// @throws PeerRefusedException if it is over
    synchronized Optional<PushedPrompt> await(String transferId, long nanos)
            throws PeerRefusedException, InterruptedException {
        long deadline = System.nanoTime() + nanos;
        while (true) {
            PushedPrompt prompt = byTransfer.get(transferId);
            if (prompt != null) {
                return Optional.of(prompt);
            }
            String why = closed == null ? over.get(transferId) : closed;
            if (why != null) {
                throw new PeerRefusedException(ErrorCode.LEASE_ENDED, "%s: %s".formatted(transferId, why));
            }
            long left = deadline - System.nanoTime();
            if (left <= 0) {
                return Optional.empty();
            }
            TimeUnit.NANOSECONDS.timedWait(this, Math.max(left, 1_000_000));
        }
    }

    /// Whether something is held, or computed, under a name.
    boolean isKnown(String handle) {
        return byTransfer.containsKey(handle) || leases.find(handle).isPresent();
    }

    /// The handle of the lease on a prompt that is known by its transfer, once it is computed.
    Optional<String> handle(String transferId) {
        return Optional.ofNullable(byTransfer.get(transferId))
                .flatMap(PushedPrompt::lease)
                .map(KvLease::handle);
    }

    /// How many names there are.
    int size() {
        return leases.size() + byTransfer.size();
    }

    /// A decoder still wants what it knows by this name.
    ///
    /// @return false if it will not get it
    boolean renew(String handle) {
        PushedPrompt prompt = byTransfer.get(handle);
        if (prompt != null) {
            return prompt.lease().map(lease -> leases.renew(lease.handle())).orElse(true);
        }
        if (!isTransferId(handle)) {
            return leases.renew(handle);
        }
        synchronized (this) {
            return closed == null && !over.containsKey(handle); // its prefill may be on its way
        }
    }

    /// A decoder has what it wanted, or wants it no more; perhaps before its prefill has come.
    void release(String handle) {
        PushedPrompt prompt;
        synchronized (this) {
            prompt = byTransfer.get(handle);
            if (prompt == null && isTransferId(handle) && !over.containsKey(handle)) {
                letGo.put(handle, "its decoder let go of it before it began");
            }
        }
        if (prompt == null) {
            leases.release(handle);
        } else {
            prompt.letGo().ifPresent(lease -> leases.release(lease.handle()));
        }
    }

    /// A decoder is gone.
    void abandon(String handle) {
        PushedPrompt prompt = byTransfer.get(handle);
        if (prompt == null) {
            leases.abandon(handle);
        } else {
            prompt.letGo().ifPresent(lease -> leases.abandon(lease.handle()));
        }
    }

    /// Ends all of them; who waits is told.
    void close() {
        String why = "the prefiller stops";
        synchronized (this) {
            closed = why;
            notifyAll();
        }
        byRequest.keySet().forEach(requestId -> end(requestId, why));
    }
}
