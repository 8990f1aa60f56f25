package dev.baton.transfer.tcp;

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
import dev.baton.transfer.RemotePrefill;
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

/// The scheduler side: decides what to load and what to hold. Pure bookkeeping, engine thread only.
///
/// A prefiller's lease is renewed from the first question about its request until the load has ended. A request is
/// loaded at most once: after that, or after its load failed, there is nothing to load for it.
final class TcpScheduler implements KvConnector.SchedulerSide {
    private static final Logger LOG = LoggerFactory.getLogger(TcpScheduler.class);

    private enum Progress {
        WATCHED,
        DECIDED,
        TAKEN
    }

    /// How far the load of a request is.
    private record Entry(RemotePrefill source, Progress progress) {}

    private static final String NOT_USED = "request {}: kv_transfer_params not used, the prompt is computed here: {}";

    private final Hello self;
    private final KvRole role;
    private final KvCacheSpec spec;
    private final String ip;
    private final int port;
    private final KvLeases leases;
    private final PushedPrompts pushed;
    private final TcpWorker worker;
    private final Runnable onLease;
    private final Map<String, Entry> entries = new HashMap<>();
    private List<TcpLoad> decided = new ArrayList<>();

    /// @param onLease told after each new lease
    TcpScheduler(
            Hello self,
            KvRole role,
            KvCacheSpec spec,
            String ip,
            int port,
            KvLeases leases,
            PushedPrompts pushed,
            TcpWorker worker,
            Runnable onLease) {
        this.self = self;
        this.role = role;
        this.spec = spec;
        this.ip = ip;
        this.port = port;
        this.leases = leases;
        this.pushed = pushed;
        this.worker = worker;
        this.onLease = onLease;
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        beginPush(request);
        if (!request.params().doRemotePrefill() || reached(request) != Progress.WATCHED) {
            return 0;
        }
        RemotePrefill source;
        try {
            source = read(request);
        } catch (IllegalArgumentException e) {
            LOG.warn(NOT_USED, request.requestId(), e.getMessage());
            return 0;
        }
        Optional<String> unusable = unusable(source, request.numTokens());
        if (unusable.isPresent()) {
            LOG.warn(NOT_USED, request.requestId(), unusable.get());
            return 0;
        }
        if (entries.put(request.requestId(), new Entry(source, Progress.WATCHED)) == null) {
            worker.watch(source);
        }
        return Math.max(0, request.numTokens() - numComputedTokens);
    }

    /// A prompt that its decoder may ask for from now on, before it is computed.
    private void beginPush(KvRequest request) {
        if (request.params().doRemoteDecode() && role != KvRole.KV_CONSUMER) {
            Object id = request.params().fields().get(RemotePrefill.TRANSFER_ID);
            if (id instanceof String transferId && PushedPrompts.isTransferId(transferId)) {
                pushed.begin(transferId, request);
            } else if (id != null) {
                LOG.warn("request {}: not pushed: its transfer_id is no text that can be one", request.requestId());
            }
        }
    }

    private static RemotePrefill read(KvRequest request) {
        return RemotePrefill.isUnderWay(request.params())
                ? RemotePrefill.underWay(request.params(), request.numTokens())
                : RemotePrefill.of(request.params());
    }

    private Progress reached(KvRequest request) {
        Entry entry = entries.get(request.requestId());
        return entry == null ? Progress.WATCHED : entry.progress();
    }

    /// Why blocks cannot be loaded from there, if they cannot.
    private Optional<String> unusable(RemotePrefill source, int promptTokens) {
        if (role == KvRole.KV_PRODUCER) {
            return Optional.of("this instance's kv_role is kv_producer");
        }
        if (source.engineId().equals(self.engineId())) {
            return Optional.of("remote_engine_id is this instance");
        }
        if (source.tpSize() != 1) {
            return Optional.of("tp_size is %d; only 1 is supported".formatted(source.tpSize()));
        }
        return worker.problem(source).or(() -> {
            if (source.numTokens() != promptTokens) {
                return Optional.of("remote_num_tokens is %d, but the prompt has %d tokens here"
                        .formatted(source.numTokens(), promptTokens));
            }
            if (!source.isUnderWay() && source.blockIds().size() < spec.blocksFor(source.numTokens())) {
                return Optional.of("remote_block_ids has %d blocks, remote_num_tokens is %d, block_size %d"
                        .formatted(source.blockIds().size(), source.numTokens(), spec.blockTokens()));
            }
            return Optional.empty();
        });
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        pushed.of(request.requestId())
                .ifPresent(prompt -> prompt.computing(blockIds, numComputedTokens, numComputedTokens));
        Optional<RemotePrefill> named = reached(request) == Progress.WATCHED ? source(request) : Optional.empty();
        if (named.isEmpty()) {
            return;
        }
        RemotePrefill source = named.get();
        String requestId = request.requestId();
        int first = MissingBlocks.first(spec, request, numComputedTokens);
        int end = numExternalTokens == 0 ? first : spec.blocksFor(numComputedTokens + numExternalTokens);
        if (end > blockIds.length
                || (end > first
                        && !source.isUnderWay()
                        && end > source.blockIds().size())) {
            throw new TransferException("request %s: %d blocks needed, %d allocated, %d on the prefiller"
                    .formatted(
                            requestId, end, blockIds.length, source.blockIds().size()));
        }
        if (worker.problem(source).isPresent()) {
            return;
        }
        entries.put(requestId, new Entry(source, Progress.DECIDED));
        decided.add(new TcpLoad(
                requestId,
                source,
                first,
                Arrays.copyOfRange(blockIds, first, end),
                numExternalTokens,
                request.tokenIds(),
                worker));
    }

    /// Where the request's blocks lie, if it says so in a way that can be understood.
    private Optional<RemotePrefill> source(KvRequest request) {
        Entry entry = entries.get(request.requestId());
        if (entry != null) {
            return Optional.of(entry.source());
        }
        if (!request.params().doRemotePrefill()) {
            return Optional.empty();
        }
        try {
            return Optional.of(read(request));
        } catch (IllegalArgumentException e) {
            return Optional.empty(); // said in numNewMatchedTokens
        }
    }

    @Override
    public List<KvLoad> takeLoads() {
        if (decided.isEmpty()) {
            return List.of();
        }
        List<TcpLoad> taken = decided;
        decided = new ArrayList<>();
        taken.forEach(load -> entries.put(load.requestId(), new Entry(load.source(), Progress.TAKEN)));
        return List.copyOf(taken);
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        KvRequest request = finished.request();
        if (request.params().doRemoteDecode()) {
            return finishPrefill(finished);
        }
        Optional<RemotePrefill> source = source(request);
        Entry reached = entries.remove(request.requestId());
        if (source.isPresent()
                && (reached == null || reached.progress() != Progress.TAKEN)
                && worker.problem(source.get()).isEmpty()) {
            decided.removeIf(load -> load.requestId().equals(request.requestId()));
            worker.release(source.get());
        }
        return new KvHold.FreeNow();
    }

    @Override
    public boolean pushes() {
        return !pushed.isEmpty();
    }

    @Override
    public void computing(KvRequest request, int[] blockIds, int numComputedTokens, int endTokens) {
        pushed.of(request.requestId()).ifPresent(prompt -> prompt.computing(blockIds, numComputedTokens, endTokens));
    }

    @Override
    public void layerComputed(int layer) {
        pushed.layerComputed(layer);
    }

    @Override
    public void preempted(KvRequest request) {
        pushed.of(request.requestId()).ifPresent(PushedPrompt::preempted);
    }

    private KvHold finishPrefill(KvFinished finished) {
        KvRequest request = finished.request();
        beginPush(request);
        Optional<PushedPrompt> push = pushed.of(request.requestId());
        boolean useless = !finished.completed()
                || role == KvRole.KV_CONSUMER
                || push.map(PushedPrompt::isUnwanted).orElse(false);
        KvHold hold = useless
                ? new KvHold.FreeNow()
                : hold(request.requestId(), finished.blockIds(), finished.numComputedTokens());
        if (push.isPresent()) {
            if (hold instanceof KvHold.UnderLease && finished.numComputedTokens() >= request.numTokens()) {
                pushComputed(push.get(), finished);
            } else {
                pushed.end(request.requestId(), "its prefill did not end with blocks for a decoder");
            }
        }
        return hold;
    }

    private void pushComputed(PushedPrompt prompt, KvFinished finished) {
        int numTokens = finished.request().numTokens();
        OptionalInt token =
                finished.numTokens() > numTokens ? OptionalInt.of(finished.tokenIds()[numTokens]) : OptionalInt.empty();
        KvLease lease = leases.of(prompt.requestId()).orElse(null);
        if (lease != null && !prompt.held(lease, finished.blockIds(), token)) {
            leases.release(lease.handle());
        }
    }

    private KvHold hold(String requestId, int[] blockIds, int numComputedTokens) {
        int blocks = spec.blocksFor(numComputedTokens);
        // The handle adds a generation to the id.
        if (blocks == 0
                || blocks > blockIds.length
                || !Limits.isId(requestId + "#" + Long.toString(Long.MAX_VALUE, 36))) {
            LOG.warn(
                    "request {}: not held for a decoder: {} tokens in {} blocks, id of {} characters",
                    requestId,
                    numComputedTokens,
                    blockIds.length,
                    requestId.length());
            return new KvHold.FreeNow();
        }
        int[] held = Arrays.copyOf(blockIds, blocks);
        Optional<KvLease> lease = leases.register(requestId, held, numComputedTokens);
        if (lease.isEmpty()) {
            LOG.warn("request {}: not held for a decoder: its id is held already", requestId);
            return new KvHold.FreeNow();
        }
        onLease.run();
        List<Integer> ids = Arrays.stream(held).boxed().toList();
        return new KvHold.UnderLease(
                new RemotePrefill(self.engineId(), lease.get().handle(), ids, ip, port, 1, numComputedTokens)
                        .toParams()
                        .with(RemotePrefill.PUSHES, true));
    }
}
