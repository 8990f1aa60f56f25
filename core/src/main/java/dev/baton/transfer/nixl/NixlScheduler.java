package dev.baton.transfer.nixl;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.MissingBlocks;
import dev.baton.transfer.TransferException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The scheduler side: decides what to load and what to hold. Engine thread only.
///
/// A prefiller's lease is renewed from the first question about its request until the load has ended. A request is
/// loaded at most once: after that, or after its load failed, there is nothing to load for it.
final class NixlScheduler implements KvConnector.SchedulerSide {
    private static final Logger LOG = LoggerFactory.getLogger(NixlScheduler.class);

    private enum Stage {
        WATCHED,
        DECIDED,
        TAKEN,
        UNUSABLE
    }

    /// How far a request with a prefiller has come.
    private record Progress(Stage stage, Optional<NixlSource> source) {}

    private final PeerAddress self;
    private final KvRole role;
    private final KvCacheSpec spec;
    private final KvLeases leases;
    private final NixlWorker worker;
    private final Optional<Mirror> mirror;
    private final LoadMaker loadMaker;
    private final Map<String, Progress> progress = new HashMap<>();
    private List<Decided> decided = new ArrayList<>();

    /// Makes a load of a request's blocks from one on.
    @FunctionalInterface
    interface LoadMaker {
        Load make(String requestId, NixlSource source, int firstBlock, int[] blockIds, int endToken);
    }

    /// What [#takeLoads] hands out.
    private record Decided(String requestId, Runnable begin) implements KvLoad {
        @Override
        public void start() {
            begin.run();
        }
    }

    NixlScheduler(
            PeerAddress self,
            KvRole role,
            KvCacheSpec spec,
            KvLeases leases,
            NixlWorker worker,
            Optional<Mirror> mirror,
            LoadMaker loadMaker) {
        this.self = self;
        this.role = role;
        this.spec = spec;
        this.leases = leases;
        this.worker = worker;
        this.mirror = mirror;
        this.loadMaker = loadMaker;
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        if (!request.params().doRemotePrefill()) {
            return 0;
        }
        Progress reached = progress.computeIfAbsent(request.requestId(), _ -> begin(request));
        return reached.stage() == Stage.WATCHED ? Math.max(0, request.numTokens() - numComputedTokens) : 0;
    }

    private Progress begin(KvRequest request) {
        String reason;
        try {
            NixlSource source = NixlSource.of(request.params());
            Optional<String> unusable = unusable(source, request.numTokens());
            if (unusable.isEmpty()) {
                worker.watch(source);
                return new Progress(Stage.WATCHED, Optional.of(source));
            }
            reason = unusable.get();
        } catch (IllegalArgumentException e) {
            reason = String.valueOf(e.getMessage());
        }
        LOG.warn("request {}: kv_transfer_params not used: {}", request.requestId(), reason);
        return new Progress(Stage.UNUSABLE, Optional.empty());
    }

    /// Why blocks cannot be loaded from there, if they cannot.
    private Optional<String> unusable(NixlSource source, int promptTokens) {
        if (role == KvRole.KV_PRODUCER) {
            return Optional.of("this instance's kv_role is kv_producer");
        }
        if (source.peer().engineId().equals(self.engineId())) {
            return Optional.of("remote_engine_id is this instance");
        }
        if (source.tpSize() != 1) {
            return Optional.of("tp_size is %d; only 1 is supported".formatted(source.tpSize()));
        }
        if (source.numTokens().orElse(promptTokens) != promptTokens) {
            return Optional.of("remote_num_tokens is %d, but the prompt has %d tokens here"
                    .formatted(source.numTokens().getAsInt(), promptTokens));
        }
        return worker.problem(source);
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (!request.params().doRemotePrefill()) {
            return;
        }
        Progress reached = progress.computeIfAbsent(request.requestId(), _ -> begin(request));
        if (reached.stage() != Stage.WATCHED) {
            return;
        }
        NixlSource source = reached.source().orElseThrow();
        int first = MissingBlocks.first(spec, request, numComputedTokens);
        progress.put(request.requestId(), new Progress(Stage.DECIDED, reached.source()));
        if (numExternalTokens == 0) {
            decided.add(new Decided(request.requestId(), () -> worker.release(source)));
            return;
        }
        int endToken = numComputedTokens + numExternalTokens;
        int end = spec.blocksFor(endToken);
        if (end > blockIds.length) {
            throw new TransferException(
                    "request %s: %d blocks needed, %d allocated".formatted(request.requestId(), end, blockIds.length));
        }
        Load load =
                loadMaker.make(request.requestId(), source, first, Arrays.copyOfRange(blockIds, first, end), endToken);
        decided.add(new Decided(request.requestId(), () -> worker.start(load)));
    }

    @Override
    public List<KvLoad> takeLoads() {
        if (decided.isEmpty()) {
            return List.of();
        }
        List<KvLoad> taken = List.copyOf(decided);
        decided = new ArrayList<>();
        for (KvLoad load : taken) {
            progress.computeIfPresent(load.requestId(), (_, it) -> new Progress(Stage.TAKEN, it.source()));
        }
        return taken;
    }

    /// The mirror copies while the prompt is computed.
    @Override
    public boolean saves() {
        return mirror.isPresent();
    }

    @Override
    public void computed(KvRequest request, int[] blockIds, int numComputedTokens) {
        if (request.params().doRemoteDecode()) {
            mirror.ifPresent(it -> it.copy(request.requestId(), blockIds, numComputedTokens));
        }
    }

    @Override
    public void preempted(KvRequest request) {
        mirror.ifPresent(it -> it.restart(request.requestId()));
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        KvRequest request = finished.request();
        if (request.params().doRemoteDecode()) {
            KvHold hold = finished.completed() && role != KvRole.KV_CONSUMER ? hold(finished) : new KvHold.FreeNow();
            if (hold instanceof KvHold.FreeNow) {
                mirror.ifPresent(it -> it.discard(request.requestId()));
            }
            return hold;
        }
        if (request.params().doRemotePrefill()) {
            Progress reached = progress.remove(request.requestId());
            if (reached == null || reached.stage() != Stage.TAKEN) {
                decided.removeIf(load -> load.requestId().equals(request.requestId()));
                worker.release(request.params());
            }
        }
        return new KvHold.FreeNow();
    }

    private KvHold hold(KvFinished finished) {
        String requestId = finished.request().requestId();
        int tokens = finished.numComputedTokens();
        int blocks = spec.blocksFor(tokens);
        if (blocks == 0 || blocks > finished.blockIds().length || requestId.indexOf(',') >= 0) {
            LOG.warn(
                    "request {}: not held for a decoder: {} tokens in {} blocks",
                    requestId,
                    tokens,
                    finished.blockIds().length);
            return new KvHold.FreeNow();
        }
        int[] held = Arrays.copyOf(finished.blockIds(), blocks);
        List<Integer> poolBlocks = Arrays.stream(held).boxed().toList();
        List<Integer> shown = poolBlocks;
        if (mirror.isPresent()) {
            Optional<int[]> copies = mirror.get().fill(requestId, held, tokens);
            if (copies.isEmpty()) {
                LOG.warn(
                        "request {}: not held for a decoder: {} is too small for {} tokens more, or its id is held",
                        requestId,
                        NixlOptions.MIRROR_BYTES,
                        tokens);
                return new KvHold.FreeNow();
            }
            shown = Arrays.stream(copies.get()).boxed().toList();
        }
        Optional<KvLease> lease = leases.register(requestId, held, tokens);
        if (lease.isEmpty()) {
            mirror.ifPresent(it -> it.free(requestId));
            LOG.warn("request {}: not held for a decoder: its id is held already", requestId);
            return new KvHold.FreeNow();
        }
        return new KvHold.UnderLease(
                new NixlSource(self, lease.get().handle(), shown, poolBlocks, 1, OptionalInt.of(tokens)).toParams());
    }
}
