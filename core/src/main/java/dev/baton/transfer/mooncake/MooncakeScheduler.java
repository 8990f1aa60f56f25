package dev.baton.transfer.mooncake;

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
import dev.baton.transfer.mooncake.MooncakeLoad.Source;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The scheduler side: decides what to load and what to hold. Pure bookkeeping, engine thread only.
///
/// A request's fields are checked before anything waits for them: one that lacks `transfer_id`,
/// `remote_engine_id` or `remote_bootstrap_addr` is computed here. A request is loaded at most once.
final class MooncakeScheduler implements KvConnector.SchedulerSide {
    private static final Logger LOG = LoggerFactory.getLogger(MooncakeScheduler.class);

    private enum Progress {
        DECIDED,
        TAKEN
    }

    private final String engineId;
    private final KvRole role;
    private final KvCacheSpec spec;
    private final MooncakeOptions options;
    private final KvLeases leases;
    private final Optional<Rendezvous> rendezvous;
    private final Consumer<MooncakeLoad> starter;
    private final Consumer<Source> releaser;
    private final Runnable onDeadline;
    private final Map<String, Progress> progress = new HashMap<>(); // by request id, of decoders' requests
    private List<KvLoad> decided = new ArrayList<>();

    /// @param rendezvous of a prefiller
    /// @param starter begins a load
    /// @param releaser tells a prefiller that nobody will come
    /// @param onDeadline told after each new lease
    MooncakeScheduler(
            String engineId,
            KvRole role,
            KvCacheSpec spec,
            MooncakeOptions options,
            KvLeases leases,
            Optional<Rendezvous> rendezvous,
            Consumer<MooncakeLoad> starter,
            Consumer<Source> releaser,
            Runnable onDeadline) {
        this.engineId = engineId;
        this.role = role;
        this.spec = spec;
        this.options = options;
        this.leases = leases;
        this.rendezvous = rendezvous;
        this.starter = starter;
        this.releaser = releaser;
        this.onDeadline = onDeadline;
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        if (!request.params().doRemotePrefill() || progress.containsKey(request.requestId())) {
            return 0;
        }
        try {
            usable(request.params());
            return Math.max(0, request.numTokens() - numComputedTokens);
        } catch (IllegalArgumentException e) {
            LOG.warn("request {}: kv_transfer_params not used: {}", request.requestId(), e.getMessage());
            return 0;
        }
    }

    /// Where blocks can be loaded from.
    ///
    /// @throws IllegalArgumentException if they cannot
    private Source usable(KvTransferParams params) {
        if (role == KvRole.KV_PRODUCER) {
            throw new IllegalArgumentException("this instance's kv_role is kv_producer");
        }
        Source source = source(params, options);
        if (source.engineId().equals(engineId)) {
            throw new IllegalArgumentException("remote_engine_id is this instance");
        }
        return source;
    }

    /// Where blocks are, by a request's parameters.
    ///
    /// @throws IllegalArgumentException if they do not say, or may not be used; the message names the field
    static Source source(KvTransferParams params, MooncakeOptions options) {
        Bootstraps.Address bootstrap = Bootstraps.Address.of(params.requiredText("remote_bootstrap_addr"));
        if (!options.allows(bootstrap.host())) {
            throw new IllegalArgumentException(
                    "remote_bootstrap_addr %s is not among kv_allowed_hosts".formatted(bootstrap));
        }
        return new Source(id(params, "transfer_id"), id(params, "remote_engine_id"), bootstrap);
    }

    /// A text that may travel as an id.
    static String id(KvTransferParams params, String key) {
        String id = params.requiredText(key);
        if (!XferMetadata.isId(id)) {
            throw new IllegalArgumentException(key + " is too long or has control characters");
        }
        return id;
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (!request.params().doRemotePrefill() || progress.containsKey(request.requestId())) {
            return;
        }
        Source source;
        try {
            source = usable(request.params());
        } catch (IllegalArgumentException e) {
            return; // it was said when the request was asked about
        }
        MissingBlocks missing =
                MissingBlocks.ofWholePrompt(spec, request, blockIds, numComputedTokens, numExternalTokens);
        progress.put(request.requestId(), Progress.DECIDED);
        decided.add(new MooncakeLoad(
                request.requestId(),
                source,
                missing.blockIds(),
                numExternalTokens,
                BlockHasher.digest(request.tokenIds(), request.numTokens()),
                starter));
    }

    @Override
    public List<KvLoad> takeLoads() {
        if (decided.isEmpty()) {
            return List.of();
        }
        List<KvLoad> taken = decided;
        decided = new ArrayList<>();
        taken.forEach(load -> progress.put(load.requestId(), Progress.TAKEN));
        return taken;
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        KvTransferParams params = finished.request().params();
        if (params.doRemotePrefill()) {
            finishDecode(finished.request());
        } else if (params.doRemoteDecode() && rendezvous.isPresent()) {
            return finishPrefill(finished, rendezvous.get());
        }
        return new KvHold.FreeNow();
    }

    private void finishDecode(KvRequest request) {
        if (progress.remove(request.requestId()) != Progress.TAKEN) {
            decided.removeIf(load -> load.requestId().equals(request.requestId()));
            try {
                releaser.accept(source(request.params(), options));
            } catch (IllegalArgumentException e) {
                LOG.debug("request {}: nobody to tell: {}", request.requestId(), e.getMessage());
            }
        }
    }

    private KvHold finishPrefill(KvFinished finished, Rendezvous meetings) {
        KvRequest request = finished.request();
        String transferId;
        try {
            transferId = id(request.params(), "transfer_id");
        } catch (IllegalArgumentException e) {
            LOG.warn("request {}: not held for a decoder: {}", request.requestId(), e.getMessage());
            return new KvHold.FreeNow();
        }
        // The decoder wants the last blocks of the prompt: those of the output would be taken for them.
        int blocks = spec.blocksFor(request.numTokens());
        if (!finished.completed() || finished.numComputedTokens() < request.numTokens()) {
            meetings.notHeld(transferId, "the prefill did not complete");
        } else if (meetings.isReleased(transferId)) {
            meetings.notHeld(transferId, "the decoder let go before the prefill ended");
        } else if (meetings.isHeld(transferId)) {
            LOG.warn("request {}: not held for a decoder: its transfer_id is held already", request.requestId());
        } else if (blocks > 0 && blocks <= finished.blockIds().length) {
            Optional<KvLease> lease = leases.register(
                    request.requestId(), Arrays.copyOf(finished.blockIds(), blocks), request.numTokens());
            if (lease.isPresent()) {
                String digest = BlockHasher.digest(request.tokenIds(), request.numTokens());
                meetings.held(transferId, new Rendezvous.Held(lease.get(), digest));
                onDeadline.run();
                return new KvHold.UnderLease(KvTransferParams.NONE);
            }
            LOG.warn("request {}: not held for a decoder: its id is held already", request.requestId());
        }
        return new KvHold.FreeNow();
    }
}
