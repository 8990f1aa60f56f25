package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.TensorException;
import dev.baton.transfer.tcp.PoolSharing.OpenPool;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The prefillers' pools that are open here, each once, however many connections are open to its prefiller. The
/// last connection that lets go closes it: the memory of a prefiller that has died is not given back before.
///
/// They are known by what was offered, not by the engine's id: an engine that was started again under its old id
/// has another pool, also while connections to the one before are still open here.
///
/// Thread-safe.
final class PeerPools {
    private static final Logger LOG = LoggerFactory.getLogger(PeerPools.class);

    private final LocalPool local;
    private final Map<Offer, Opened> opened = new HashMap<>();
    private final Set<String> told = new HashSet<>();

    PeerPools(LocalPool local) {
        this.local = local;
    }

    private static final class Opened {
        final OpenPool pool;
        int users;

        Opened(OpenPool pool) {
            this.pool = pool;
        }
    }

    /// Opens the pool that a peer has offered, or uses it once more; to be let go of with [#release] of that offer.
    ///
    /// @return empty if blocks are to come over TCP; why is logged once for each engine
    synchronized Optional<OpenPool> acquire(Hello peer) {
        Optional<PoolSharing> sharing = local.sharing();
        if (sharing.isEmpty()) {
            return Optional.empty(); // as it is meant to be: nothing to tell
        }
        Opened known = opened.get(peer.offer());
        if (known == null) {
            Optional<String> obstacle = obstacle(local.offer(), peer.offer());
            if (obstacle.isPresent()) {
                tell(peer, obstacle.get());
                return Optional.empty();
            }
            try {
                known = new Opened(sharing.get().open(peer.offer()));
            } catch (TensorException e) {
                tell(peer, String.valueOf(e.getMessage()));
                return Optional.empty();
            }
            opened.put(peer.offer(), known);
        }
        known.users++;
        return Optional.of(known.pool);
    }

    /// Why two pools cannot be reached from each other, if so. A handle of another host, or of another start of
    /// this one, is never shown to the driver.
    static Optional<String> obstacle(Offer own, Offer peer) {
        if (own.isNone()) {
            return Optional.of("this side offers nothing");
        }
        if (peer.isNone()) {
            return Optional.of("the prefiller offers nothing to this host");
        }
        if (!own.host().equals(peer.host())) {
            return Optional.of("the prefiller is on another host");
        }
        if (HostSharing.isOffered(own) != HostSharing.isOffered(peer)) {
            return Optional.of("one of the two pools is on a GPU, the other one in host memory");
        }
        if (peer.handle().isEmpty()) {
            return Optional.of("the prefiller's pool is not shared");
        }
        return peer.numBlocks() <= 0 ? Optional.of("the prefiller's offer is not whole") : Optional.empty();
    }

    private void tell(Hello peer, String why) {
        if (told.size() < Limits.MAX_PEERS && told.add(peer.engineId())) {
            LOG.info("KV blocks of engine {} come over TCP, not from memory to memory: {}", peer.engineId(), why);
        }
    }

    synchronized void release(Offer offer) {
        Opened known = opened.get(offer);
        if (known != null && --known.users == 0) {
            opened.remove(offer);
            known.pool.close();
        }
    }
}
