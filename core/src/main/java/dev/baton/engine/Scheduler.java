package dev.baton.engine;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.metrics.PreemptionEvent;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvTransferConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentMap;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Decides what each step computes, in the manner of vLLM's V1 scheduler: no prefill or decode phase, but one
/// budget of tokens, given first to the running requests and then to waiting ones, in the order of their
/// [RequestQueue].
///
/// A request is admitted when blocks for all its tokens are there, and computes them in as many steps as the
/// budget makes it. When the pool runs out, the last of the running requests, which is the youngest or the one
/// that matters least, gives its blocks back and is computed again later. A request that loads blocks from a
/// prefiller counts against `maxNumSeqs` and keeps its blocks, but is in neither queue; when the load ends it is a
/// running request, one that can be preempted like any other.
///
/// Engine thread only.
final class Scheduler {
    /* Why nothing gets stuck. Blocks are held by running requests, loads and leases. Loads and leases end by themselves,
     * by the connector's deadlines, and neither waits for this scheduler. Among running requests the first takes from
     * all others; if even it lacks a block, it gives up its own and waits until all its tokens fit, so that it gains at
     * least one token each time it comes back. A request that would not fit into the empty pool is refused at submit, and
     * ends with LENGTH before it outgrows it. No request waits with blocks in hand: one whose load ended is running. */

    private static final Logger LOG = LoggerFactory.getLogger(Scheduler.class);

    /// In how many steps beside decodes a prompt is computed, however long it is, if the token budget lets it.
    private static final int MAX_PIECES = 16;

    private final int maxNumSeqs;
    private final int maxNumBatchedTokens;
    private final int maxSequenceTokens;
    private final int longPrefillTokenThreshold;
    private final int prefillTokensBesideDecodes;
    private final int maxPromptLogitsRows;
    private final SchedulingPolicy policy;
    private final KvLoadFailurePolicy loadFailurePolicy;
    private final KvCacheManager kv;
    private final KvTransfers transfers;
    private final EngineCounters counters;
    private final ConcurrentMap<String, Request> requests;
    private final RequestQueue waiting;
    /// The first one takes from all others.
    private final List<Request> running = new ArrayList<>();
    /// Ends of requests to whose blocks a step that is under way still writes.
    private final List<Runnable> postponed = new ArrayList<>();

    private boolean isNextUnderWay;
    /// What is left of this step's budgets.
    private int tokensLeft;

    private int promptLogitsLeft;
    private int prefillTokensLeft;

    /// @param maxSequenceTokens longest prompt plus output
    /// @param maxPromptLogitsRows tokens in one step whose logits are needed for log-probabilities of prompts
    /// @param requests all requests in flight by id, from which those that are gone are removed;
    ///     shared with submitters
    Scheduler(
            EngineConfig config,
            int maxSequenceTokens,
            int maxPromptLogitsRows,
            KvCacheManager kv,
            KvTransfers transfers,
            EngineCounters counters,
            ConcurrentMap<String, Request> requests) {
        this.maxNumSeqs = config.maxNumSeqs();
        this.maxNumBatchedTokens = config.maxNumBatchedTokens();
        this.maxSequenceTokens = maxSequenceTokens;
        this.longPrefillTokenThreshold = config.longPrefillTokenThreshold();
        this.prefillTokensBesideDecodes = config.prefillTokensBesideDecodes();
        this.maxPromptLogitsRows = maxPromptLogitsRows;
        this.policy = config.schedulingPolicy();
        this.waiting = RequestQueue.of(policy);
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
        waiting.add(request);
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
        tokensLeft = maxNumBatchedTokens;
        promptLogitsLeft = maxPromptLogitsRows;
        prefillTokensLeft =
                prefillTokensBesideDecodes > 0 && isDecoding() ? prefillTokensBesideDecodes : Integer.MAX_VALUE;
        scheduleRunning(step);
        if (step.numPreempted() == 0) {
            admitWaiting(step);
        }
        transfers.startLoads();
    }

    /// Fills `next` with the step that comes after one that is under way, before the tokens of that one are
    /// known, if it is certain to be the same requests with a token more each; else there is no such step. Nor is
    /// there one where a request whose blocks come soon would have to wait for it.
    ///
    /// @param step what is under way
    /// @return whether there is one
    boolean scheduleAhead(SchedulerOutput step, SchedulerOutput next) {
        next.clear();
        boolean isFull = running.size() + transfers.numLoading() >= maxNumSeqs;
        if (!postponed.isEmpty() || running.size() != step.numRequests() || (waiting.size() > 0 && !isFull)) {
            return false;
        }
        if (transfers.isAboutToArrive(System.nanoTime())) {
            return false;
        }
        for (int i = 0; i < step.numRequests(); i++) {
            Request request = step.request(i);
            boolean decodes = step.numScheduledTokens(i) == 1
                    && step.samples(i)
                    && request.numComputedTokens >= request.givenTokens;
            if (!decodes
                    || !request.canRunAhead(maxSequenceTokens)
                    || !kv.allocateSlots(request.blocks, request.numComputedTokens + 2)) {
                return false;
            }
        }
        for (int i = 0; i < step.numRequests(); i++) {
            next.add(step.request(i), 1);
        }
        next.runAhead();
        return true;
    }

    private boolean isDecoding() {
        for (Request request : running) {
            if (!hasPromptLeft(request)) {
                return true;
            }
        }
        return false;
    }

    /// Whether more is left to compute than the token that was sampled last, or is to be computed again.
    private static boolean hasPromptLeft(Request request) {
        return request.numTokens() - request.numComputedTokens > 1;
    }

    private void scheduleRunning(SchedulerOutput step) {
        for (int i = 0; i < running.size() && tokensLeft > 0; i++) {
            Request request = running.get(i);
            // A long prompt leaves each running request behind it one token, so that it never stalls their
            // decoding.
            int reserved = running.size() - 1 - i;
            int numTokens = chunk(request, Math.max(1, tokensLeft - reserved));
            if (numTokens > 0 && request.mayFindMore) {
                findMore(request);
                numTokens = chunk(request, Math.max(1, tokensLeft - reserved));
            }
            while (!kv.allocateSlots(request.blocks, request.numComputedTokens + numTokens)) {
                // The last one is not scheduled in this step yet: the loop has not come to it.
                Request victim = running.removeLast();
                preempt(victim, step);
                if (victim == request) {
                    return;
                }
            }
            add(request, numTokens, step);
        }
    }

    /// How many tokens of a request the step computes, as far as `most` and the other limits let it.
    private int chunk(Request request, int most) {
        int numTokens = Math.min(request.numTokens() - request.numComputedTokens, most);
        if (longPrefillTokenThreshold > 0) {
            numTokens = Math.min(numTokens, longPrefillTokenThreshold);
        }
        if (hasPromptLeft(request)) {
            numTokens = Math.min(numTokens, prefillTokensFor(request));
        }
        if (request.promptLogitsRows(numTokens) > promptLogitsLeft) {
            numTokens = Math.min(numTokens, request.tokensWithinPromptRows(promptLogitsLeft));
        }
        return numTokens;
    }

    /// As long as there is room for any, a long prompt gets a share of what is to be computed of it.
    private int prefillTokensFor(Request request) {
        int share = Math.ceilDiv(request.numTokens() - request.foundTokens, MAX_PIECES);
        return prefillTokensLeft == 0 ? 0 : Math.max(prefillTokensLeft, share);
    }

    private void add(Request request, int numTokens, SchedulerOutput step) {
        if (numTokens > 0) {
            if (hasPromptLeft(request)) {
                prefillTokensLeft = Math.max(0, prefillTokensLeft - numTokens);
            }
            step.add(request, numTokens);
            tokensLeft -= numTokens;
            promptLogitsLeft -= request.promptLogitsRows(numTokens);
        }
    }

    private void preempt(Request request, SchedulerOutput step) {
        PreemptionEvent event = new PreemptionEvent();
        if (event.isEnabled()) {
            event.request = request.id;
            event.computedTokens = request.numComputedTokens;
            event.outputTokens = request.numOutputTokens();
            event.commit();
        }
        transfers.preempted(request);
        kv.free(request.blocks);
        request.numComputedTokens = 0;
        request.status = Request.Status.PREEMPTED;
        request.numPreemptions++;
        waiting.putBack(request);
        step.addPreempted();
        EngineCounters.add(counters.preemptions, 1);
    }

    private void admitWaiting(SchedulerOutput step) {
        while (tokensLeft > 0 && running.size() + transfers.numLoading() < maxNumSeqs) {
            Request request = waiting.peek();
            if (request == null) {
                return;
            }
            boolean reads = !request.wantsPromptLogits();
            int cached = reads ? kv.computedBlocks(request.blocks, request.tokens(), request.numTokens()) : 0;
            if (!kv.allocateSlots(request.blocks, request.numTokens())) {
                kv.free(request.blocks);
                return;
            }
            waiting.remove(request, true);
            request.numComputedTokens = cached;
            request.foundTokens = cached;
            noteFirstTurn(request, reads);
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
            int numTokens = chunk(request, tokensLeft);
            request.mayFindMore = reads && numTokens == 0;
            add(request, numTokens, step);
        }
    }

    /// A prompt that was admitted behind others, before it could compute any of its tokens, finds what those
    /// have computed of it meanwhile.
    private void findMore(Request request) {
        request.mayFindMore = false;
        int before = request.numComputedTokens;
        request.numComputedTokens = kv.computedBlocksAgain(request.blocks, request.tokens(), request.numTokens());
        request.foundTokens = request.numComputedTokens;
        if (request.numPreemptions == 0) {
            request.cachedTokens = request.numComputedTokens;
            EngineCounters.add(counters.prefixHit, request.numComputedTokens - before);
        }
    }

    /// @param reads whether it has looked into the prefix cache
    private void noteFirstTurn(Request request, boolean reads) {
        if (request.queued) {
            long now = System.nanoTime();
            request.noteFirstTurn(now);
            counters.leftQueue(request, now);
            request.queued = false;
            request.cachedTokens = request.numComputedTokens;
            EngineCounters.add(counters.prefixQueried, reads ? request.givenTokens : 0);
            EngineCounters.add(counters.prefixHit, request.cachedTokens);
        }
    }

    private void run(Request request) {
        request.status = Request.Status.RUNNING;
        int at = running.size();
        while (at > 0 && comesBefore(request, running.get(at - 1))) {
            at--;
        }
        running.add(at, request);
    }

    private boolean comesBefore(Request a, Request b) {
        return policy == SchedulingPolicy.PRIORITY
                && (a.priority < b.priority || (a.priority == b.priority && a.submittedNanos - b.submittedNanos < 0));
    }

    /// Takes in the results of a step: advances, publishes, reports and finishes requests.
    ///
    /// @param nextIsUnderWay whether the step after it was launched already: requests that end keep their
    ///     blocks until that one is done, and its tokens of theirs are dropped
    void update(SchedulerOutput step, StepOutput output, boolean nextIsUnderWay) {
        isNextUnderWay = nextIsUnderWay;
        for (int i = 0; i < step.numRequests(); i++) {
            Request request = step.request(i);
            if (request.isOver) {
                continue;
            }
            int token = output.token(i);
            if (token < 0 && token != StepOutput.NO_TOKEN) {
                fail(request, token);
                continue;
            }
            request.numComputedTokens += step.numScheduledTokens(i);
            kv.cacheFullBlocks(request.blocks, request.tokens(), request.numComputedTokens);
            // Not before logits have been seen to be finite: what is saved is found by others, also after a
            // restart.
            if (token != StepOutput.NO_TOKEN
                    && request.numComputedTokens - step.numScheduledTokens(i) < request.givenTokens) {
                transfers.computed(request);
            }
            if (token != StepOutput.NO_TOKEN) {
                append(request, token, output.logprobs(i));
            }
        }
        if (!nextIsUnderWay) {
            postponed.forEach(Runnable::run);
            postponed.clear();
        }
        EngineCounters.add(counters.steps, 1);
        counters.iterationTokens.observe(step.numTokens());
    }

    /// Takes a request out of the batch and ends it, once no step that is under way writes to its blocks.
    private void leave(Request request, Runnable end) {
        if (isNextUnderWay) {
            request.isOver = true;
            postponed.add(() -> leaveNow(request, end));
        } else {
            leaveNow(request, end);
        }
    }

    private void leaveNow(Request request, Runnable end) {
        running.remove(request);
        end.run();
    }

    private void fail(Request request, int reason) {
        // Whatever made logits not finite may lie in the keys and values: nobody else shall find them.
        boolean distrust = reason == StepOutput.NOT_FINITE;
        EngineCounters.add(counters.corruptedRequests, distrust ? 1 : 0);
        leave(request, () -> end(request, FinishReason.ERROR, StepOutput.reason(reason), distrust));
    }

    private void append(Request request, int token, List<RequestOutput.TokenLogprobs> logprobs) {
        if (!request.accept(token)) {
            fail(request, StepOutput.CONSTRAINT_FAILED);
            return;
        }
        List<RequestOutput.TokenLogprobs> promptLogprobs = countAndAppend(request, token);
        int[] tokenIds = {token};
        FinishReason reason = request.finishReason(maxSequenceTokens);
        if (reason != null) {
            leave(request, () -> finish(request, reason, tokenIds, logprobs, promptLogprobs));
        } else if (!request.emit(new RequestOutput(tokenIds, logprobs, promptLogprobs, Optional.empty()))) {
            leave(request, () -> end(request, FinishReason.ABORT, null, false));
        }
    }

    /// @return the log-probabilities of the prompt, with the first token
    private List<RequestOutput.TokenLogprobs> countAndAppend(Request request, int token) {
        List<RequestOutput.TokenLogprobs> promptLogprobs = List.of();
        if (request.isFresh()) {
            EngineCounters.add(counters.promptTokens, request.givenTokens);
            request.noteFirstToken();
            promptLogprobs = request.takePromptLogprobs();
        }
        EngineCounters.add(counters.generationTokens, 1);
        request.append(token);
        return promptLogprobs;
    }

    /// The prefiller's first token is the request's, before its blocks are here: should they not come, it goes on
    /// from prompt and token.
    private void firstToken(@Nullable Request request, int token) {
        if (request == null || request.answered || !request.takesFirstToken() || !request.accept(token)) {
            return;
        }
        List<RequestOutput.TokenLogprobs> none = countAndAppend(request, token);
        FinishReason reason = request.finishReason(maxSequenceTokens);
        Optional<RequestOutput.Finish> finish =
                Optional.ofNullable(reason).map(why -> request.finish(why, new KvHold.FreeNow(), null));
        if (!request.emit(new RequestOutput(new int[] {token}, List.of(), none, finish)) || finish.isPresent()) {
            transfers.cancelLoad(request);
        }
    }

    /// Ends a request that is complete; its blocks may stay for a decoder.
    private void finish(
            Request request,
            FinishReason reason,
            int[] tokenIds,
            List<RequestOutput.TokenLogprobs> logprobs,
            List<RequestOutput.TokenLogprobs> promptLogprobs) {
        KvHold hold = transfers.finish(request, true);
        boolean held = hold instanceof KvHold.UnderLease;
        if (held) {
            request.status = Request.Status.HELD;
        } else {
            retire(request);
        }
        RequestOutput last =
                new RequestOutput(tokenIds, logprobs, promptLogprobs, Optional.of(request.finish(reason, hold, null)));
        if (!request.emit(last) && held) {
            transfers.dropLease(request);
        }
    }

    /// Ends a request that is in no queue any more, before it is complete.
    ///
    /// @param distrust whether its blocks must not be found by others
    private void end(Request request, FinishReason reason, @Nullable String error, boolean distrust) {
        if (distrust) {
            kv.distrust(request.blocks);
        }
        if (transfers.finish(request, false) instanceof KvHold.UnderLease) {
            transfers.dropLease(request);
            request.status = Request.Status.HELD;
        } else {
            retire(request);
        }
        answer(request, reason, error);
    }

    private void answer(Request request, FinishReason reason, @Nullable String error) {
        if (!request.answered) {
            request.emit(new RequestOutput(
                    new int[0],
                    List.of(),
                    List.of(),
                    Optional.of(request.finish(reason, new KvHold.FreeNow(), error))));
        }
    }

    /// Gives a request's blocks back and forgets it. Nobody may be reading or writing them: not the model
    /// (between steps), not a load (ended), not a decoder (lease ended).
    private void retire(Request request) {
        kv.free(request.blocks);
        request.status = Request.Status.FINISHED;
        if (request.queued) {
            request.queued = false;
            counters.gaveUp(request.promptTokens);
        }
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
                waiting.remove(request, false);
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

    /// Ends a request whose output is complete by its caller's word.
    void stop(String requestId) {
        Request request = requests.get(requestId);
        if (request == null) {
            return;
        }
        switch (request.status) {
            case RUNNING -> {
                running.remove(request);
                finish(request, FinishReason.STOP, new int[0], List.of(), List.of());
            }
            case PREEMPTED -> {
                waiting.remove(request, false);
                finish(request, FinishReason.STOP, new int[0], List.of(), List.of());
            }
            case WAITING -> abort(requestId);
            case WAITING_FOR_REMOTE_KVS -> {
                if (!request.isFresh()) {
                    answer(request, FinishReason.STOP, null);
                }
                abort(requestId);
            }
            case HELD, FINISHED -> {}
        }
    }

    void onKvEvent(KvEvent event) {
        switch (event) {
            case KvEvent.KvArrived(String id, int numTokens, long numBytes) ->
                loadEnded(transfers.loadEnded(id, KvTransfers.ARRIVED, numBytes), numTokens, null);
            case KvEvent.KvFailed(String id, String reason) -> loadEnded(transfers.loadEnded(id, reason, 0), 0, reason);
            case KvEvent.KvFirstToken(String id, int token) -> firstToken(transfers.loading(id), token);
            case KvEvent.LeaseReleased(String id) -> leaseEnded(id, false);
            case KvEvent.LeaseExpired(String id) -> {
                LOG.warn("request {}: no decoder came for its blocks before the lease ended", id);
                leaseEnded(id, true);
            }
        }
    }

    /// @param request whose load it is, null if it is over already
    /// @param numTokens tokens that arrived
    /// @param failure why the load failed, null if it did not
    private void loadEnded(@Nullable Request request, int numTokens, @Nullable String failure) {
        if (request == null) {
            return;
        }
        request.noteLoadEnded();
        if (request.answered) {
            end(request, FinishReason.ABORT, null, false);
        } else if (failure == null) {
            loadArrived(request, numTokens);
        } else {
            loadFailed(request, failure);
        }
    }

    /// Blocks behind those that arrived hold anything, and are computed over.
    private void loadArrived(Request request, int numTokens) {
        int arrived = Math.min(numTokens, request.loadingTokens);
        request.externalTokens = arrived;
        EngineCounters.add(counters.externalHit, arrived);
        // The last token of the prompt is computed again, for its logits, unless the prefiller has said what comes
        // after it. That rewrites its keys and values in place, with the same bits; still, its block is published
        // only after that step, so that no shared block is ever written.
        request.numComputedTokens = Math.min(request.numComputedTokens + arrived, request.numTokens() - 1);
        request.foundTokens = request.numComputedTokens;
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

    private void leaseEnded(String requestId, boolean expired) {
        Request request = transfers.leaseEnded(requestId, expired);
        if (request != null) {
            retire(request);
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
