package dev.baton.transfer.store;

import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import dev.baton.transfer.KvSaves;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Decides which blocks are loaded from a store and which are saved to it. Engine thread only.
///
/// @param <K> the name of a block
public final class BlockStoreScheduler<K> implements KvConnector.SchedulerSide {
    private final BlockStore<K> store;
    private final int blockTokens;
    private final Use use;
    private final KvSaves saves;
    private final BlockStoreWorker<K> worker;
    private final Map<String, State<K>> states = new HashMap<>();
    private List<KvLoad> decided = new ArrayList<>();

    /// What a store is used for.
    ///
    /// @param loads whether prompts are looked for
    /// @param savesPrompts whether blocks of prompts are saved
    /// @param savesOutput whether blocks that have tokens of the output are saved when their request has ended
    public record Use(boolean loads, boolean savesPrompts, boolean savesOutput) {}

    /// What is known of a request while it is here.
    private static final class State<K> {
        private final List<K> names;
        /// Blocks, from the first on, that were saved or need not be.
        private int numSaved;

        State(List<K> names) {
            this.names = names;
        }
    }

    public BlockStoreScheduler(
            BlockStore<K> store, int blockTokens, Use use, KvSaves saves, BlockStoreWorker<K> worker) {
        this.store = store;
        this.blockTokens = blockTokens;
        this.use = use;
        this.saves = saves;
        this.worker = worker;
    }

    private State<K> state(KvRequest request) {
        return states.computeIfAbsent(
                request.requestId(), _ -> new State<>(store.names(request.tokenIds(), request.numTokens())));
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        if (!use.loads()) {
            return 0;
        }
        List<K> names = state(request).names;
        int first = numComputedTokens / blockTokens;
        int end = first;
        while (end < names.size() && store.mayHave(names, end)) {
            end++;
        }
        return (end - first) * blockTokens;
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (numExternalTokens == 0) {
            return;
        }
        int first = numComputedTokens / blockTokens;
        int end = first + numExternalTokens / blockTokens;
        decided.add(worker.load(
                request.requestId(),
                state(request).names.subList(first, end),
                Arrays.copyOfRange(blockIds, first, end)));
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
        return use.loads() && store.asks();
    }

    @Override
    public boolean saves() {
        return use.savesPrompts();
    }

    @Override
    public void computed(KvRequest request, int[] blockIds, int numComputedTokens) {
        State<K> state = state(request);
        save(request, state, state.names, blockIds, numComputedTokens);
    }

    /// Has the full blocks of the first `numTokens` saved that were not before.
    private void save(KvRequest request, State<K> state, List<K> names, int[] blockIds, int numTokens) {
        int full = Math.min(numTokens / blockTokens, names.size());
        List<K> missing = new ArrayList<>();
        int[] missingIds = new int[Math.max(0, full - state.numSaved)];
        for (int i = state.numSaved; i < full; i++) {
            if (!store.isKept(names, i)) {
                missingIds[missing.size()] = blockIds[i];
                missing.add(names.get(i));
            }
        }
        state.numSaved = Math.max(state.numSaved, full);
        if (!missing.isEmpty() && !worker.isBehind()) {
            worker.save(saves.open(request.requestId()), missing, missingIds);
        }
    }

    @Override
    public void preempted(KvRequest request) {
        saves.fence(request.requestId());
        State<K> state = states.get(request.requestId());
        if (state != null) {
            state.numSaved = 0; // what the fence cut off is saved when it has been computed again
        }
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        String requestId = finished.request().requestId();
        State<K> state = states.remove(requestId);
        decided.removeIf(load -> load.requestId().equals(requestId));
        if (use.savesOutput() && finished.completed()) {
            int numTokens = finished.numComputedTokens();
            List<K> names = store.names(Arrays.copyOf(finished.tokenIds(), numTokens), numTokens);
            save(finished.request(), state == null ? new State<>(names) : state, names, finished.blockIds(), numTokens);
        }
        if (!saves.finish(requestId)) {
            return new KvHold.FreeNow();
        }
        worker.limitHold(requestId);
        return new KvHold.UnderLease(KvTransferParams.NONE);
    }
}
