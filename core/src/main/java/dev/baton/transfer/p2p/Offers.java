package dev.baton.transfer.p2p;

import dev.baton.transfer.KvLease;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// The prompts that decoders may ask a prefiller for: vLLM's `send_store`, over leases on the pool's blocks. Beyond
/// its limit the one that was asked for least lately goes. Thread-safe.
final class Offers {
    private static final float LOAD_FACTOR = 0.75f;

    private final long maxBytes;
    private final Map<String, Offer> byTensor = new LinkedHashMap<>(16, LOAD_FACTOR, true); // guarded by this
    private long bytes; // guarded by this

    /// One prompt.
    record Offer(KvLease lease, String promptDigest, long numBytes) {}

    Offers(long maxBytes) {
        this.maxBytes = maxBytes;
    }

    /// Adds a prompt.
    ///
    /// @return the prompts that have to go, whose leases are to be ended; the new one itself if it is too large
    synchronized List<Offer> add(String tensorId, Offer offer) {
        List<Offer> gone = new ArrayList<>();
        if (offer.numBytes() > maxBytes) {
            gone.add(offer);
            return gone;
        }
        Offer same = byTensor.remove(tensorId);
        if (same != null) {
            bytes -= same.numBytes();
            gone.add(same);
        }
        Iterator<Offer> oldest = byTensor.values().iterator();
        while (bytes + offer.numBytes() > maxBytes && oldest.hasNext()) {
            Offer each = oldest.next();
            oldest.remove();
            bytes -= each.numBytes();
            gone.add(each);
        }
        byTensor.put(tensorId, offer);
        bytes += offer.numBytes();
        return gone;
    }

    /// A prompt that is asked for.
    synchronized Optional<Offer> find(String tensorId) {
        return Optional.ofNullable(byTensor.get(tensorId));
    }

    /// The lease on a request's blocks has ended.
    synchronized void ended(String requestId) {
        byTensor.values().removeIf(offer -> {
            boolean same = offer.lease().requestId().equals(requestId);
            bytes -= same ? offer.numBytes() : 0;
            return same;
        });
    }
}
