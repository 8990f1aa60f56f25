package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferParams.RemoteDecode;
import dev.baton.transfer.KvTransferParams.RemotePrefill;
import dev.baton.transfer.TransferException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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

    private final Hello self;
    private final KvRole role;
    private final KvCacheSpec spec;
    private final String ip;
    private final int port;
    private final KvLeases leases;
    private final TcpWorker worker;
    private final Runnable onLease;
    private final Map<String, Progress> progress = new HashMap<>();
    private List<KvLoad> decided = new ArrayList<>();

    /// @param onLease told after each new lease
    TcpScheduler(
            Hello self,
            KvRole role,
            KvCacheSpec spec,
            String ip,
            int port,
            KvLeases leases,
            TcpWorker worker,
            Runnable onLease) {
        this.self = self;
        this.role = role;
        this.spec = spec;
        this.ip = ip;
        this.port = port;
        this.leases = leases;
        this.worker = worker;
        this.onLease = onLease;
    }

    @Override
    public int numNewMatchedTokens(String requestId, KvTransferParams params, int promptTokens, int numComputedTokens) {
        return switch (params) {
            case RemoteDecode ignored -> 0;
            case RemotePrefill source -> matched(requestId, source, promptTokens, numComputedTokens);
        };
    }

    private int matched(String requestId, RemotePrefill source, int promptTokens, int numComputedTokens) {
        if (progress.getOrDefault(requestId, Progress.WATCHED) != Progress.WATCHED) {
            return 0;
        }
        Optional<String> unusable = unusable(source, promptTokens);
        if (unusable.isPresent()) {
            LOG.warn("request {}: kv_transfer_params not used: {}", requestId, unusable.get());
            return 0;
        }
        if (progress.put(requestId, Progress.WATCHED) == null) {
            worker.watch(source);
        }
        return Math.max(0, promptTokens - numComputedTokens);
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
            if (source.blockIds().size() < spec.blocksFor(source.numTokens())) {
                return Optional.of("remote_block_ids has %d blocks, remote_num_tokens is %d, block_size %d"
                        .formatted(source.blockIds().size(), source.numTokens(), spec.blockTokens()));
            }
            return Optional.empty();
        });
    }

    @Override
    public void updateStateAfterAlloc(
            String requestId, KvTransferParams params, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (!(params instanceof RemotePrefill source)
                || progress.getOrDefault(requestId, Progress.WATCHED) != Progress.WATCHED) {
            return;
        }
        if (numComputedTokens % spec.blockTokens() != 0) {
            throw new TransferException("request %s: %d computed tokens are no whole blocks of %d"
                    .formatted(requestId, numComputedTokens, spec.blockTokens()));
        }
        int first = numComputedTokens / spec.blockTokens();
        int end = numExternalTokens == 0 ? first : spec.blocksFor(numComputedTokens + numExternalTokens);
        if (end > blockIds.length || (end > first && end > source.blockIds().size())) {
            throw new TransferException("request %s: %d blocks needed, %d allocated, %d on the prefiller"
                    .formatted(
                            requestId, end, blockIds.length, source.blockIds().size()));
        }
        if (worker.problem(source).isPresent()) {
            return;
        }
        progress.put(requestId, Progress.DECIDED);
        decided.add(new KvLoad(requestId, source, first, Arrays.copyOfRange(blockIds, first, end)));
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
    public KvHold requestFinished(
            String requestId, KvTransferParams params, int[] blockIds, int numComputedTokens, boolean completed) {
        return switch (params) {
            case RemoteDecode ignored
            when completed && role != KvRole.KV_CONSUMER -> hold(requestId, blockIds, numComputedTokens);
            case RemoteDecode ignored -> new KvHold.FreeNow();
            case RemotePrefill source -> {
                Progress reached = progress.remove(requestId);
                if (reached != Progress.TAKEN && worker.problem(source).isEmpty()) {
                    decided.removeIf(load -> load.requestId().equals(requestId));
                    worker.release(source);
                }
                yield new KvHold.FreeNow();
            }
        };
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
                new RemotePrefill(self.engineId(), lease.get().handle(), ids, ip, port, 1, numComputedTokens));
    }
}
