package dev.baton.engine;

import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.KvLeaseEvent;
import dev.baton.metrics.KvTransferEvent;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The scheduler's dealings with the connector: which requests load blocks, and which finished ones hold theirs
/// for a decoder. Decides nothing about the queues and frees nothing. Engine thread only.
final class KvTransfers {
    /// Baton's own key among `kv_transfer_params`: a digest of the tokens that the prefiller's blocks hold.
    static final String PROMPT_DIGEST = "remote_prompt_digest";

    /// The outcome of a load that ended well.
    static final String ARRIVED = "arrived";

    /// Most of what a load from GPU to GPU takes: a gigabyte comes in 4 ms, and beside decoding in some more.
    static final long SOON_NANOS = 10_000_000;

    private final @Nullable KvConnector connector;
    private final KvCacheSpec spec;
    private final Map<String, Request> loading = new HashMap<>();
    private final Map<String, Request> held = new HashMap<>();
    private final PeerTransfers peers = new PeerTransfers();
    private boolean loadsDecided;
    private boolean pushing; // in the step that runs

    KvTransfers(@Nullable KvConnector connector, KvCacheSpec spec) {
        this.connector = connector;
        this.spec = spec;
    }

    /// What loads from each peer came to; from any thread.
    PeerTransfers peers() {
        return peers;
    }

    int numLoading() {
        return loading.size();
    }

    /// Whether blocks come soon for some request: its prompt is computed, and only they are missing. Those that
    /// have not come after some milliseconds may take any time, over a network for example.
    ///
    /// @param now by [System#nanoTime()]
    boolean isAboutToArrive(long now) {
        if (!loading.isEmpty()) { // asked in each step, where nothing is to be allocated
            for (Request request : loading.values()) {
                if (!request.answered && isExpected(request) && now - expectedSince(request) < SOON_NANOS) {
                    return true;
                }
            }
        }
        return false;
    }

    private static boolean isExpected(Request request) {
        return !request.isFresh() || !RemotePrefill.isUnderWay(request.kv.params());
    }

    /// Of a push its first token came then, in front of its blocks.
    private static long expectedSince(Request request) {
        return request.isFresh() ? request.loadStartNanos : request.firstTokenNanos();
    }

    int numHeld() {
        return held.size();
    }

    /// Tells the connector of a request that has to wait: from the first question on it keeps the prefiller's
    /// lease alive.
    void announce(Request request) {
        if (connector != null) {
            int _ = connector.scheduler().numNewMatchedTokens(request.kv, 0);
        }
    }

    /// Asks the connector, once in a request's life, what it is to load; blocks for the whole prompt are
    /// allocated.
    ///
    /// @return whether a load begins: the request then keeps its blocks until [#loadEnded]
    boolean beginLoad(Request request) {
        if (connector == null || request.loadDecided) {
            return false;
        }
        request.loadDecided = true;
        int computed = request.numComputedTokens;
        int external = isFullHit(request) || request.wantsPromptLogits()
                ? 0
                : connector.scheduler().numNewMatchedTokens(request.kv, computed);
        // Also without a load: the connector then lets go of the prefiller's lease.
        int[] blockIds = request.blocks.copyOf(spec.blocksFor(request.givenTokens));
        connector.scheduler().updateStateAfterAlloc(request.kv, blockIds, computed, external);
        loadsDecided = true;
        if (external == 0) {
            return false;
        }
        request.loadingTokens = external;
        request.loadStartNanos = System.nanoTime();
        loading.put(request.id, request);
        KvTransferEvent event = new KvTransferEvent();
        if (event.isEnabled()) {
            event.begin();
            event.request = request.id;
            event.peer = peer(request.kv.params());
            event.tokens = external;
            event.blocks = blocksToLoad(request);
            request.transferEvent = event;
        }
        return true;
    }

    private int blocksToLoad(Request request) {
        return spec.blocksFor(request.numComputedTokens + request.loadingTokens)
                - request.numComputedTokens / spec.blockTokens();
    }

    /// The address of whom the parameters name: it stays the same over restarts.
    private static String address(KvTransferParams params) {
        Map<String, Object> fields = params.fields();
        return fields.containsKey("remote_host")
                ? fields.get("remote_host") + ":" + fields.get("remote_port")
                : fields.getOrDefault("remote_engine_id", "store").toString();
    }

    /// Whom the parameters name, as far as they do.
    private static String peer(KvTransferParams params) {
        Map<String, Object> fields = params.fields();
        String engine = fields.getOrDefault("remote_engine_id", "").toString();
        return fields.containsKey("remote_host") ? "%s (%s)".formatted(engine, address(params)) : engine;
    }

    /// Whether the local prefix cache holds all that a prefix cache can hold of this prompt: what is left, at
    /// most one block and at least the last token, has to be computed for its logits anyway, and costs less
    /// than a round trip.
    private boolean isFullHit(Request request) {
        int left = request.givenTokens - request.numComputedTokens;
        return left == 1 || (request.numComputedTokens > 0 && left <= spec.blockTokens());
    }

    /// Hands what was decided in this step to the moving side. Blocks freed earlier in the step may be among
    /// the targets: nothing that is still to run in this step uses them.
    void startLoads() {
        if (connector != null && loadsDecided) {
            loadsDecided = false;
            for (KvLoad load : connector.scheduler().takeLoads()) {
                load.start();
            }
        }
    }

    /// The request whose load has ended, or null if there is none of this id.
    @Nullable
    Request loadEnded(String requestId, String outcome, long numBytes) {
        Request request = loading.remove(requestId);
        if (request != null) {
            String peer = address(request.kv.params());
            if (outcome.equals(ARRIVED)) {
                peers.arrived(peer, numBytes, numBytes / spec.blockBytes(), System.nanoTime() - request.loadStartNanos);
            } else if (!request.answered || request.isFresh()) {
                peers.failed(peer); // or the prefiller's first token was all that it wanted
            }
        }
        if (request != null && request.transferEvent != null) {
            request.transferEvent.outcome = outcome;
            request.transferEvent.bytes = numBytes;
            request.transferEvent.commit();
            request.transferEvent = null;
        }
        return request;
    }

    /// Ends a load early; its blocks stay in use until the connector says that nothing writes into them any
    /// more.
    void cancelLoad(Request request) {
        if (connector != null) {
            connector.worker().cancelLoad(request.id);
        }
    }

    /// Tells a connector that sends blocks while they are computed what a step is about to compute.
    void stepBegins(SchedulerOutput step) {
        pushing = connector != null && connector.scheduler().pushes();
        if (!pushing || connector == null) {
            return;
        }
        for (int i = 0; i < step.numRequests(); i++) {
            Request request = step.request(i);
            int end = Math.min(request.numComputedTokens + step.numScheduledTokens(i), request.givenTokens);
            if (request.numComputedTokens < end) {
                connector
                        .scheduler()
                        .computing(
                                request.kv, request.blocks.copyOf(spec.blocksFor(end)), request.numComputedTokens, end);
            }
        }
    }

    /// Whether somebody wants to know what the step that runs has written.
    boolean isPushing() {
        return pushing;
    }

    /// The step that runs has written the keys and values of the layers up to this one.
    void layerComputed(int layer) {
        if (pushing && connector != null) {
            connector.scheduler().layerComputed(layer);
        }
    }

    /// All layers, for a model that does not say when each is.
    void stepComputed() {
        layerComputed(spec.layers() - 1);
    }

    /// The request of this id whose load is under way, or null if there is none.
    @Nullable
    Request loading(String requestId) {
        return loading.get(requestId);
    }

    /// Tells a connector that saves blocks what a step has added to a request's.
    void computed(Request request) {
        if (connector != null && connector.scheduler().saves()) {
            int numTokens = Math.min(request.numComputedTokens, request.givenTokens);
            connector.scheduler().computed(request.kv, request.blocks.copyOf(spec.blocksFor(numTokens)), numTokens);
        }
    }

    /// Sees to it that nobody reads the blocks of a request that are given to others.
    void preempted(Request request) {
        if (connector != null) {
            connector.scheduler().preempted(request.kv);
        }
    }

    /// Asks the connector what becomes of the blocks of a request that ends.
    ///
    /// @param completed whether it ended by length or stop
    /// @return its decision; the blocks are to be kept until [#leaseEnded] if it is a lease
    KvHold finish(Request request, boolean completed) {
        if (connector == null) {
            return new KvHold.FreeNow();
        }
        // The last token that was sampled has no keys and values yet: the blocks hold the tokens before it.
        int numTokens = request.numComputedTokens;
        int numBlocks = Math.min(request.blocks.size(), spec.blocksFor(numTokens));
        KvHold hold = connector
                .scheduler()
                .requestFinished(new KvFinished(
                        request.kv,
                        request.tokens(),
                        request.numTokens(),
                        request.blocks.copyOf(numBlocks),
                        numTokens,
                        completed));
        return switch (hold) {
            case KvHold.FreeNow free -> free;
            case KvHold.UnderLease lease -> {
                held.put(request.id, request);
                KvLeaseEvent event = new KvLeaseEvent();
                if (event.isEnabled()) {
                    event.begin();
                    event.request = request.id;
                    event.blocks = numBlocks;
                    request.leaseEvent = event;
                }
                yield lease.answer().doRemotePrefill()
                        ? new KvHold.UnderLease(
                                lease.answer().with(PROMPT_DIGEST, BlockHasher.digest(request.tokens(), numTokens)))
                        : lease;
            }
        };
    }

    /// The request whose lease has ended, or null if there is none of this id.
    ///
    /// @param expired whether nobody came for its blocks
    @Nullable
    Request leaseEnded(String requestId, boolean expired) {
        Request request = held.remove(requestId);
        if (request != null && request.leaseEvent != null) {
            request.leaseEvent.expired = expired;
            request.leaseEvent.commit();
            request.leaseEvent = null;
        }
        return request;
    }

    /// Ends a lease early; the blocks stay in use until the connector says that nobody reads them any more.
    void dropLease(Request request) {
        if (connector != null) {
            connector.worker().dropLease(request.id);
        }
    }
}
