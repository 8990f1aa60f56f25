package dev.baton.transfer.p2p;

import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.MissingBlocks;
import dev.baton.transfer.p2p.Offers.Offer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The scheduler side: which requests are hand-offs, by the addresses in their ids. Pure bookkeeping, engine thread
/// only. A request is loaded at most once.
final class P2pScheduler implements KvConnector.SchedulerSide {
    private static final Logger LOG = LoggerFactory.getLogger(P2pScheduler.class);

    /// What a decoder or a prefiller has to do with others; the moving sides of the connector.
    ///
    /// @param starter begins a load
    /// @param releaser lets go of a prompt of a prefiller that nobody loads
    record Actions(Consumer<P2pLoad> starter, BiConsumer<String, Endpoint> releaser, Pushes pushes, Offers offers) {}

    private final Endpoint self;
    private final KvRole role;
    private final KvCacheSpec spec;
    private final P2pOptions options;
    private final KvLeases leases;
    private final Actions actions;
    private final Runnable onDeadline;
    private final Set<String> begun = new HashSet<>(); // requests whose load is decided on, or that need none
    private final Set<String> taken = new HashSet<>(); // those whose load has been taken
    private List<KvLoad> decided = new ArrayList<>();

    /// @param self this instance's `zmq_address`
    /// @param onDeadline told after each new lease
    P2pScheduler(
            Endpoint self,
            KvRole role,
            KvCacheSpec spec,
            P2pOptions options,
            KvLeases leases,
            Actions actions,
            Runnable onDeadline) {
        this.self = self;
        this.role = role;
        this.spec = spec;
        this.options = options;
        this.leases = leases;
        this.actions = actions;
        this.onDeadline = onDeadline;
    }

    /// Where a request's prompt comes from, if it is a decoder's leg.
    private Optional<Endpoint> source(KvRequest request) {
        return P2pRoute.of(request.externalId())
                .filter(route -> role == KvRole.KV_CONSUMER
                        || (role == KvRole.KV_BOTH && route.decoder().equals(self)))
                .map(P2pRoute::prefiller)
                .filter(prefiller -> !prefiller.equals(self));
    }

    /// Where a request's prompt goes, if it is a prefiller's leg.
    private Optional<Endpoint> target(KvRequest request) {
        return P2pRoute.of(request.externalId())
                .filter(route -> role == KvRole.KV_PRODUCER
                        || (role == KvRole.KV_BOTH && route.prefiller().equals(self)))
                .map(P2pRoute::decoder)
                .filter(decoder -> !decoder.equals(self));
    }

    private boolean isAllowed(KvRequest request, Endpoint peer) {
        boolean allowed = options.allows(peer);
        if (!allowed) {
            LOG.warn("request {}: {} is not among kv_allowed_hosts", request.requestId(), peer);
        }
        return allowed;
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        Optional<Endpoint> source = source(request);
        if (source.isEmpty() || begun.contains(request.requestId()) || !isAllowed(request, source.get())) {
            return 0;
        }
        return Math.max(0, request.numTokens() - numComputedTokens);
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        Optional<Endpoint> source = source(request);
        if (source.isEmpty() || !options.allows(source.get()) || begun.contains(request.requestId())) {
            return;
        }
        MissingBlocks missing =
                MissingBlocks.ofWholePrompt(spec, request, blockIds, numComputedTokens, numExternalTokens);
        begun.add(request.requestId());
        decided.add(new P2pLoad(
                request.requestId(),
                Control.tensorId(request.externalId()),
                source.get(),
                missing.first(),
                missing.blockIds(),
                request.numTokens(),
                numExternalTokens,
                BlockHasher.digest(request.tokenIds(), request.numTokens()),
                actions.starter()));
    }

    @Override
    public List<KvLoad> takeLoads() {
        if (decided.isEmpty()) {
            return List.of();
        }
        List<KvLoad> now = decided;
        decided = new ArrayList<>();
        now.forEach(load -> taken.add(load.requestId()));
        return now;
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        KvRequest request = finished.request();
        source(request).ifPresent(prefiller -> finishDecode(request, prefiller));
        Optional<Endpoint> target = target(request);
        if (target.isPresent() && isAllowed(request, target.get())) {
            return finishPrefill(finished, target.get());
        }
        return new KvHold.FreeNow();
    }

    private void finishDecode(KvRequest request, Endpoint prefiller) {
        begun.remove(request.requestId());
        if (!taken.remove(request.requestId())) {
            decided.removeIf(load -> load.requestId().equals(request.requestId()));
            if (options.allows(prefiller)) {
                actions.releaser().accept(Control.tensorId(request.externalId()), prefiller);
            }
        }
    }

    private KvHold finishPrefill(KvFinished finished, Endpoint decoder) {
        KvRequest request = finished.request();
        int blocks = spec.blocksFor(request.numTokens());
        if (!finished.completed()
                || finished.numComputedTokens() < request.numTokens()
                || blocks == 0
                || blocks > finished.blockIds().length) {
            actions.pushes().refuse(Control.tensorId(request.externalId()), "its prefill did not complete");
            return new KvHold.FreeNow();
        }
        Optional<KvLease> lease =
                leases.register(request.requestId(), Arrays.copyOf(finished.blockIds(), blocks), request.numTokens());
        if (lease.isEmpty()) {
            LOG.warn("request {}: not handed over: its id is held already", request.requestId());
            actions.pushes().refuse(Control.tensorId(request.externalId()), "its id is held already");
            return new KvHold.FreeNow();
        }
        String tensorId = Control.tensorId(request.externalId());
        String digest = BlockHasher.digest(request.tokenIds(), request.numTokens());
        if (options.fetches()) {
            List<Offer> gone =
                    actions.offers().add(tensorId, new Offer(lease.get(), digest, blocks * spec.blockBytes()));
            gone.forEach(offer -> {
                LOG.warn(
                        "request {}: not kept for its decoder any more: kv_buffer_size is reached",
                        offer.lease().requestId());
                leases.release(offer.lease().handle());
            });
        } else {
            actions.pushes().start(tensorId, decoder, lease.get(), digest);
        }
        onDeadline.run();
        return new KvHold.UnderLease(KvTransferParams.NONE);
    }
}
