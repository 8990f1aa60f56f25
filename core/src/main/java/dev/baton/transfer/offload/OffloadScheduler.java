package dev.baton.transfer.offload;

import dev.baton.kvcache.BlockHash;
import dev.baton.kvcache.BlockHasher;
import dev.baton.kvcache.KvCacheSpec;
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
import java.util.Optional;

/// Decides which blocks are loaded from the tiers and which are saved to them. Engine thread only.
///
/// Of blocks in files it does not know for sure: other instances write and delete there. Where there are files,
/// all of a prompt's full blocks may be there, and the load finds out.
final class OffloadScheduler implements KvConnector.SchedulerSide {
    private final KvCacheSpec spec;
    private final BlockHasher hasher;
    private final Optional<MemoryTier> memory;
    private final Optional<FileTier> files;
    private final KvSaves saves;
    private final OffloadWorker worker;
    private final Map<String, State> states = new HashMap<>();
    private List<KvLoad> decided = new ArrayList<>();

    /// What is known of a request while it is here.
    private static final class State {
        private final BlockHash[] hashes;
        /// Blocks, from the first on, that were saved or need not be.
        private int numSaved;

        State(BlockHash[] hashes) {
            this.hashes = hashes;
        }
    }

    OffloadScheduler(
            KvCacheSpec spec,
            BlockHasher hasher,
            Optional<MemoryTier> memory,
            Optional<FileTier> files,
            KvSaves saves,
            OffloadWorker worker) {
        this.spec = spec;
        this.hasher = hasher;
        this.memory = memory;
        this.files = files;
        this.saves = saves;
        this.worker = worker;
    }

    private State state(KvRequest request) {
        return states.computeIfAbsent(
                request.requestId(),
                _ -> new State(OffloadingConnector.hashes(hasher, request.tokenIds(), spec.blockTokens())));
    }

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        BlockHash[] hashes = state(request).hashes;
        int first = numComputedTokens / spec.blockTokens();
        int end = first;
        while (end < hashes.length && mayHave(hashes[end])) {
            end++;
        }
        return (end - first) * spec.blockTokens();
    }

    private boolean mayHave(BlockHash hash) {
        return files.isPresent() || memory.map(tier -> tier.contains(hash)).orElse(false);
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        if (numExternalTokens == 0) {
            return;
        }
        int first = numComputedTokens / spec.blockTokens();
        int end = first + numExternalTokens / spec.blockTokens();
        decided.add(new OffloadLoad(
                request.requestId(),
                Arrays.copyOfRange(state(request).hashes, first, end),
                Arrays.copyOfRange(blockIds, first, end),
                worker));
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
        return files.isPresent();
    }

    @Override
    public boolean saves() {
        return true;
    }

    @Override
    public void computed(KvRequest request, int[] blockIds, int numComputedTokens) {
        State state = state(request);
        int full = Math.min(numComputedTokens / spec.blockTokens(), state.hashes.length);
        List<OffloadWorker.BlockToSave> missing = new ArrayList<>();
        for (int i = state.numSaved; i < full; i++) {
            if (!worker.has(state.hashes[i])) {
                missing.add(new OffloadWorker.BlockToSave(state.hashes[i], blockIds[i]));
            }
        }
        state.numSaved = Math.max(state.numSaved, full);
        if (!missing.isEmpty() && !worker.isBehind()) {
            worker.save(saves.open(request.requestId()), missing);
        }
    }

    @Override
    public void preempted(KvRequest request) {
        saves.fence(request.requestId());
        State state = states.get(request.requestId());
        if (state != null) {
            state.numSaved = 0; // what the fence cut off is saved when it has been computed again
        }
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        String requestId = finished.request().requestId();
        states.remove(requestId);
        decided.removeIf(load -> load.requestId().equals(requestId));
        if (!saves.finish(requestId)) {
            return new KvHold.FreeNow();
        }
        worker.limitHold(requestId);
        return new KvHold.UnderLease(KvTransferParams.NONE);
    }
}
