package dev.baton.engine;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Decides what each step computes, in the manner of vLLM's V1 scheduler: no prefill or decode phase, but one
/// budget of tokens, given first to the running requests and then to waiting ones, in the order of their
/// arrival.
///
/// A request is admitted when blocks for all its tokens are there, and computes them in as many steps as the
/// budget makes it. When the pool runs out, the youngest running request gives its blocks back and is computed
/// again later. A request that loads blocks from a prefiller counts against `maxNumSeqs` and keeps its blocks,
/// but is in neither queue; when the load ends it is a running request, one that can be preempted like any
/// other.
///
/// Engine thread only.
final class Scheduler {
    /* Why nothing gets stuck. Blocks are held by running requests, loads and leases. Loads and leases end by themselves,
     * by the connector's deadlines, and neither waits for this scheduler. Among running requests the oldest takes from
     * all others; if even it lacks a block, it gives up its own and waits until all its tokens fit, so that it gains at
     * least one token each time it comes back. A request that would not fit into the empty pool is refused at submit, and
     * ends with LENGTH before it outgrows it. No request waits with blocks in hand: one whose load ended is running. */

    private static final Logger LOG = LoggerFactory.getLogger(Scheduler.class);

    private final int maxNumSeqs;
    private final int maxNumBatchedTokens;
    private final int maxSequenceTokens;
    private final KvLoadFailurePolicy loadFailurePolicy;
    private final KvCacheManager kv;
    private final KvTransfers transfers;
    private final EngineCounters counters;
    private final ConcurrentMap<String, Request> requests;
    private final Deque<Request> waiting = new ArrayDeque<>();
    private final List<Request> running = new ArrayList<>();

    /// @param maxSequenceTokens longest prompt plus output
    /// @param requests all requests in flight by id, from which those that are gone are removed;
    ///     shared with submitters
    Scheduler(
            EngineConfig config,
            int maxSequenceTokens,
            KvCacheManager kv,
            KvTransfers transfers,
            EngineCounters counters,
            ConcurrentMap<String, Request> requests) {
        this.maxNumSeqs = config.maxNumSeqs();
        this.maxNumBatchedTokens = config.maxNumBatchedTokens();
        this.maxSequenceTokens = maxSequenceTokens;
        this.loadFailurePolicy =
                config.kvTransfer().map(KvTransferConfig::loadFailurePolicy).orElse(KvLoadFailurePolicy.RECOMPUTE);
        this.kv = kv;
        this.transfers = transfers;
        this.counters = counters;
        this.requests = requests;
    }

    void add(Request request) {
        if (request.status == Request.Status.FINISHED) {
            return; // an abort from another thread overtook it on its way here
        }
        try {
            transfers.announce(request);
        } catch (RuntimeException e) {
            endByConnector(request, e);
            return;
        }
        waiting.addLast(request);
    }

    /// Ends the one request that the connector's scheduler side could not deal with; nothing loads or reads its
    /// blocks. What it throws when a request ends is another matter, and ends the engine: the blocks may be under a
    /// lease then, or among a decided load, so that they can be neither freed nor kept.
    private void endByConnector(Request request, RuntimeException failure) {
        LOG.error("request {}: the KV connector failed", request.id, failure);
        end(request, FinishReason.ERROR, "the KV connector failed: " + failure, false);
    }

    /// Fills `step` with the next step's work, which may be none.
    void schedule(SchedulerOutput step) {
        step.clear();
        int budget = scheduleRunning(step);
        if (step.numPreempted() == 0) {
            admitWaiting(step, budget);
        }
        transfers.startLoads();
    }

    /// @return what is left of the budget
    private int scheduleRunning(SchedulerOutput step) {
        int budget = maxNumBatchedTokens;
        for (int i = 0; i < running.size() && budget > 0; i++) {
            Request request = running.get(i);
            // A long prompt leaves each running request behind it one token, so that it never stalls their
            // decoding.
            int reserved = running.size() - 1 - i;
            int missing = request.numTokens() - request.numComputedTokens;
            int numTokens = Math.min(missing, Math.max(1, budget - reserved));
            while (!kv.allocateSlots(request.blocks, request.numComputedTokens + numTokens)) {
                // The youngest is not scheduled in this step yet: the loop has not come to it.
                Request victim = running.removeLast();
                preempt(victim, step);
                if (victim == request) {
                    return budget;
                }
            }
            step.add(request, numTokens);
            budget -= numTokens;
        }
        return budget;
    }

    private void preempt(Request request, SchedulerOutput step) {
        kv.free(request.blocks);
        request.numComputedTokens = 0;
        request.status = Request.Status.PREEMPTED;
        waiting.addFirst(request);
        step.addPreempted();
        EngineCounters.add(counters.preemptions, 1);
    }

    private void admitWaiting(SchedulerOutput step, int budget) {
        while (budget > 0 && !waiting.isEmpty() && running.size() + transfers.numLoading() < maxNumSeqs) {
            Request request = waiting.getFirst();
            int cached = kv.computedBlocks(request.blocks, request.tokens(), request.numTokens());
            if (!kv.allocateSlots(request.blocks, request.numTokens())) {
                kv.free(request.blocks);
                return;
            }
            waiting.removeFirst();
            request.numComputedTokens = cached;
            noteFirstTurn(request);
            boolean loads;
            try {
                loads = transfers.beginLoad(request);
            } catch (RuntimeException e) {
                endByConnector(request, e);
                continue;
            }
            if (loads) {
                request.status = Request.Status.WAITING_FOR_REMOTE_KVS;
                EngineCounters.add(counters.externalQueried, request.loadingTokens);
                continue;
            }
            run(request);
            int numTokens = Math.min(request.numTokens() - cached, budget);
            step.add(request, numTokens);
            budget -= numTokens;
        }
    }

    private void noteFirstTurn(Request request) {
        if (request.queued) {
            unqueue(request);
            request.cachedTokens = request.numComputedTokens;
            EngineCounters.add(counters.prefixQueried, request.promptTokens);
            EngineCounters.add(counters.prefixHit, request.cachedTokens);
        }
    }

    private void unqueue(Request request) {
        if (request.queued) {
            request.queued = false;
            counters.queued.getAndDecrement();
        }
    }

    private void run(Request request) {
        request.status = Request.Status.RUNNING;
        running.add(request);
    }

    /// Takes in the results of a step: advances, publishes, reports and finishes requests.
    void update(SchedulerOutput step, StepOutput output) {
        for (int i = 0; i < step.numRequests(); i++) {
            Request request = step.request(i);
            int token = output.token(i);
            if (token == StepOutput.NOT_FINITE) {
                // Whatever made the logits so may lie in the keys and values: nobody else shall find them.
                running.remove(request);
                end(request, FinishReason.ERROR, "the model's logits are not finite", true);
                continue;
            }
            request.numComputedTokens += step.numScheduledTokens(i);
            kv.cacheFullBlocks(request.blocks, request.tokens(), request.numComputedTokens);
            if (token != StepOutput.NO_TOKEN) {
                append(request, token, output.logprobs(i));
            }
        }
        EngineCounters.add(counters.steps, 1);
    }

    private void append(Request request, int token, List<RequestOutput.TokenLogprobs> logprobs) {
        if (request.numOutputTokens() == 0) {
            EngineCounters.add(counters.promptTokens, request.promptTokens);
        }
        EngineCounters.add(counters.generationTokens, 1);
        request.append(token);
        int[] tokenIds = {token};
        FinishReason reason = request.finishReason(maxSequenceTokens);
        if (reason != null) {
            running.remove(request);
            finish(request, reason, tokenIds, logprobs);
        } else if (!request.emit(new RequestOutput(tokenIds, logprobs, List.of(), Optional.empty()))) {
            running.remove(request);
            end(request, FinishReason.ABORT, null, false);
        }
    }

    /// Ends a request that is complete; its blocks may stay for a decoder.
    private void finish(
            Request request, FinishReason reason, int[] tokenIds, List<RequestOutput.TokenLogprobs> logprobs) {
        Optional<KvTransferParams.RemotePrefill> hold = transfers.finish(request, true);
        if (hold.isPresent()) {
            request.status = Request.Status.HELD;
        } else {
            retire(request, false);
        }
        RequestOutput last =
                new RequestOutput(tokenIds, logprobs, List.of(), Optional.of(request.finish(reason, hold, null)));
        if (!request.emit(last) && hold.isPresent()) {
            transfers.dropLease(request);
        }
    }

    /// Ends a request that is in no queue any more, before it is complete.
    ///
    /// @param distrust whether its blocks must not be found by others
    private void end(Request request, FinishReason reason, @Nullable String error, boolean distrust) {
        if (transfers.finish(request, false).isPresent()) {
            transfers.dropLease(request);
            request.status = Request.Status.HELD;
        } else {
            retire(request, distrust);
        }
        answer(request, reason, error);
    }

    private void answer(Request request, FinishReason reason, @Nullable String error) {
        if (!request.answered) {
            request.emit(new RequestOutput(
                    new int[0], List.of(), List.of(), Optional.of(request.finish(reason, Optional.empty(), error))));
        }
    }

    /// Gives a request's blocks back and forgets it. Nobody may be reading or writing them: not the model
    /// (between steps), not a load (ended), not a decoder (lease ended).
    private void retire(Request request, boolean distrust) {
        if (distrust) {
            kv.discard(request.blocks);
        } else {
            kv.free(request.blocks);
        }
        request.status = Request.Status.FINISHED;
        unqueue(request);
        requests.remove(request.id, request);
    }

    /// Ends a request early, wherever it is.
    void abort(String requestId) {
        Request request = requests.get(requestId);
        if (request == null) {
            return;
        }
        switch (request.status) {
            case WAITING, PREEMPTED -> {
                waiting.remove(request);
                end(request, FinishReason.ABORT, null, false);
            }
            case RUNNING -> {
                running.remove(request);
                end(request, FinishReason.ABORT, null, false);
            }
            case WAITING_FOR_REMOTE_KVS -> {
                answer(request, FinishReason.ABORT, null);
                transfers.cancelLoad(request);
            }
            case HELD -> transfers.dropLease(request);
            case FINISHED -> {}
        }
    }

    void onKvEvent(KvEvent event) {
        switch (event) {
            case KvEvent.KvArrived(String id, long numBytes) -> loadEnded(id, null);
            case KvEvent.KvFailed(String id, String reason) -> loadEnded(id, reason);
            case KvEvent.LeaseReleased(String id) -> leaseEnded(id);
            case KvEvent.LeaseExpired(String id) -> {
                LOG.warn("request {}: no decoder came for its blocks before the lease ended", id);
                leaseEnded(id);
            }
        }
    }

    /// @param failure why the load failed, null if every block arrived
    private void loadEnded(String requestId, @Nullable String failure) {
        Request request = transfers.loadEnded(requestId);
        if (request == null) {
            return;
        }
        if (request.answered) {
            end(request, FinishReason.ABORT, null, false);
        } else if (failure == null) {
            loadArrived(request);
        } else {
            loadFailed(request, failure);
        }
    }

    private void loadArrived(Request request) {
        request.externalTokens = request.loadingTokens;
        EngineCounters.add(counters.externalHit, request.loadingTokens);
        // The last token of the prompt is computed again, for its logits. That rewrites its keys and values in
        // place, with the same bits; still, its block is published only after that step, so that no shared
        // block is ever written.
        request.numComputedTokens =
                Math.min(request.numComputedTokens + request.loadingTokens, request.promptTokens - 1);
        kv.cacheFullBlocks(request.blocks, request.tokens(), request.numComputedTokens);
        run(request);
    }

    /// The cached tokens are still there; the blocks after them hold anything, and are computed over.
    private void loadFailed(Request request, String failure) {
        EngineCounters.add(counters.loadFailures, 1);
        switch (loadFailurePolicy) {
            case RECOMPUTE -> {
                LOG.warn("request {}: its KV blocks could not be loaded, computing them here: {}", request.id, failure);
                run(request);
            }
            case FAIL -> end(request, FinishReason.ERROR, "KV blocks could not be loaded: " + failure, false);
        }
    }

    private void leaseEnded(String requestId) {
        Request request = transfers.leaseEnded(requestId);
        if (request != null) {
            retire(request, false);
        }
    }

    /// Answers every request that has no answer yet; the engine stops, so blocks no longer matter.
    void endAll(FinishReason reason, @Nullable String error) {
        for (Request request : requests.values()) {
            // Who removes a request answers for it: a submitter that saw the engine end may have been first.
            if (requests.remove(request.id, request)) {
                answer(request, reason, error);
                request.status = Request.Status.FINISHED;
            }
        }
        waiting.clear();
        running.clear();
    }

    int numRunning() {
        return running.size();
    }

    /// Requests that wait for their turn or for blocks from a prefiller.
    int numWaiting() {
        return waiting.size() + transfers.numLoading();
    }
}
