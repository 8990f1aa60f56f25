package dev.baton.transfer.lmcache;

import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.TransferException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/// The scheduler side: pure bookkeeping, engine thread only. Promises whole chunks, since only the load asks
/// the tiers, and has every chunk of a prompt saved as soon as it is computed.
final class LmCacheScheduler implements KvConnector.SchedulerSide {
    private static final String RET_FIRST_TOKEN = "ret_first_tok";
    private static final String FIRST_TOKEN = "first_tok";
    private static final String SKIP_SAVE = "lmcache.skip_save";

    private final KvRole role;
    private final LmCacheOptions options;
    private final boolean loads;
    private final LmCacheWorker worker;
    private final ChunkSaver saver;
    private final Counters counters;
    private final Consumer<KvEvent> sink;
    private final Map<String, RequestSave> saves = new HashMap<>(); // by request id
    private List<KvLoad> decided = new ArrayList<>();

    LmCacheScheduler(
            KvRole role,
            LmCacheOptions options,
            boolean loads,
            LmCacheWorker worker,
            ChunkSaver saver,
            Counters counters,
            Consumer<KvEvent> sink) {
        this.role = role;
        this.options = options;
        this.loads = loads;
        this.worker = worker;
        this.saver = saver;
        this.counters = counters;
        this.sink = sink;
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        if (!loads) {
            return 0;
        }
        int end = Math.max(0, request.numTokens() - options.skipLastTokens());
        if (!options.saveUnfullChunk()) {
            end -= end % options.chunkTokens();
        }
        return end < options.minRetrieveTokens() ? 0 : Math.max(0, end - numComputedTokens);
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (numExternalTokens == 0) {
            return;
        }
        if (numExternalTokens > numNewMatchedTokens(request, numComputedTokens)) {
            throw new TransferException("request %s: %d external tokens, more than there can be, %d"
                    .formatted(
                            request.requestId(), numExternalTokens, numNewMatchedTokens(request, numComputedTokens)));
        }
        counters.begunLoads.increment();
        counters.lookupTokens.add(numExternalTokens);
        decided.add(new ChunkLoad(request, blockIds, numComputedTokens, numComputedTokens + numExternalTokens, worker));
    }

    @Override
    public List<KvLoad> takeLoads() {
        if (decided.isEmpty()) {
            return List.of();
        }
        List<KvLoad> taken = decided;
        decided = new ArrayList<>();
        return taken;
    }

    @Override
    public boolean asksStores() {
        return loads;
    }

    @Override
    public boolean saves() {
        return role != KvRole.KV_CONSUMER;
    }

    @Override
    public void computed(KvRequest request, int[] blockIds, int numComputedTokens) {
        if (numComputedTokens < options.chunkTokens() || !mayBeSaved(request)) {
            return;
        }
        RequestSave save =
                saves.computeIfAbsent(request.requestId(), id -> new RequestSave(request, worker::holdEnded, sink));
        boolean _ = enqueue(save, request.tokenIds(), blockIds, numComputedTokens);
    }

    private boolean mayBeSaved(KvRequest request) {
        Object skip = request.params().fields().get(SKIP_SAVE);
        return saves() && (skip == null || !Boolean.parseBoolean(skip.toString()));
    }

    /// Has the full chunks of the first `numTokens` saved that were not before.
    ///
    /// @return whether there was room for them
    private boolean enqueue(RequestSave save, int[] tokens, int[] blockIds, int numTokens) {
        int chunkTokens = options.chunkTokens();
        while ((save.nextChunk() + 1) * chunkTokens <= numTokens) {
            int from = save.nextChunk() * chunkTokens;
            if (!enqueue(save, tokens, blockIds, from, from + chunkTokens)) {
                return false;
            }
        }
        return true;
    }

    private boolean enqueue(RequestSave save, int[] tokens, int[] blockIds, int from, int end) {
        if (save.isFenced()) {
            return false;
        }
        save.add();
        boolean taken = saver.offer(new ChunkSaver.Task(save, tokens, blockIds, from, end, false));
        if (!taken) {
            counters.droppedSaves.increment();
            boolean _ = save.fence(); // what follows would be of no use without this chunk
        }
        return taken;
    }

    @Override
    public void preempted(KvRequest request) {
        RequestSave save = saves.remove(request.requestId());
        if (save != null) {
            saver.abandon(save);
        }
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        KvRequest request = finished.request();
        KvTransferParams answer = answer(finished);
        RequestSave begun = saves.remove(request.requestId());
        if (!finished.completed() || !mayBeSaved(request)) {
            if (begun != null) {
                saver.abandon(begun);
            }
            return new KvHold.FreeNow(answer);
        }
        int end = options.saveDecodeCache()
                ? finished.numComputedTokens()
                : Math.min(finished.numComputedTokens(), request.numTokens());
        if (begun == null && end < (options.saveUnfullChunk() ? 1 : options.chunkTokens())) {
            return new KvHold.FreeNow(answer);
        }
        RequestSave save = begun == null ? new RequestSave(request, worker::holdEnded, sink) : begun;
        int[] tokens = options.saveDecodeCache() ? finished.tokenIds().clone() : request.tokenIds();
        if (enqueue(save, tokens, finished.blockIds(), end)) {
            int from = save.nextChunk() * options.chunkTokens();
            if (options.saveUnfullChunk() && end > from) {
                boolean _ = enqueue(save, tokens, finished.blockIds(), from, end);
            }
            boolean _ = saver.offer(new ChunkSaver.Task(save, tokens, finished.blockIds(), end, end, true));
        }
        return worker.hold(save) ? new KvHold.UnderLease(answer) : new KvHold.FreeNow(answer);
    }

    /// What a proxy of LMCache's wants to know of a prefill: the token that came out of it.
    private static KvTransferParams answer(KvFinished finished) {
        KvRequest request = finished.request();
        boolean wanted = request.params().fields().containsKey(RET_FIRST_TOKEN);
        return wanted && finished.completed() && finished.numTokens() > request.numTokens()
                ? new KvTransferParams(Map.of(FIRST_TOKEN, finished.tokenIds()[request.numTokens()]))
                : KvTransferParams.NONE;
    }
}
