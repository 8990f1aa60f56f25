package dev.baton.engine;

import dev.baton.kvcache.KvCacheManager;
import dev.baton.metrics.EngineStepEvent;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The engine's thread, `baton-engine`: reads its inbox, makes a step, and sleeps when there is nothing to do.
///
/// Owns the scheduler, the block pool and every request's state; nothing in them is locked, because nobody else
/// touches them. [#post] and the questions about its health are for any thread.
final class EngineLoop implements Runnable {
    private static final Logger LOG = LoggerFactory.getLogger(EngineLoop.class);

    private static final float MICROS_A_MILLI = 1000;

    private final Thread thread = Thread.ofPlatform().name("baton-engine").unstarted(this);
    private final Inbox inbox;
    private final Scheduler scheduler;
    private final ModelRunner runner;
    private final KvCacheManager kv;
    private final KvTransfers transfers;
    private final EngineCounters counters;
    private final long stepDeadlineNanos;
    private final Runnable closeResources;
    private final StepOutput output;
    /// One for all steps: each begins it anew.
    private final EngineStepEvent stepEvent = new EngineStepEvent();

    private SchedulerOutput scheduled;
    /// The step after it, where that is launched ahead.
    private SchedulerOutput next;
    /// Whether [#scheduled] was launched ahead and not waited for.
    private boolean isUnderWay;

    private boolean closing;

    /// When the step that is running began, by [System#nanoTime()]; 0 between steps.
    private final AtomicLong stepStartNanos = new AtomicLong();

    private volatile boolean ended;
    private volatile @Nullable Throwable failure;

    /// @param closeResources run once, on the engine's thread, after the last request was answered
    EngineLoop(
            EngineConfig config,
            Inbox inbox,
            Scheduler scheduler,
            ModelRunner runner,
            KvCacheManager kv,
            KvTransfers transfers,
            EngineCounters counters,
            Runnable closeResources) {
        this.inbox = inbox;
        this.scheduler = scheduler;
        this.runner = runner;
        this.kv = kv;
        this.transfers = transfers;
        this.counters = counters;
        this.stepDeadlineNanos = config.stepDeadline().toNanos();
        this.closeResources = closeResources;
        this.scheduled = new SchedulerOutput(config.maxNumSeqs());
        this.next = new SchedulerOutput(config.maxNumSeqs());
        this.output = new StepOutput(config.maxNumSeqs());
    }

    void start() {
        publishGauges();
        inbox.readBy(thread);
        thread.start();
    }

    /// Leaves a message and wakes the engine; after its end, answers in its place. Any thread.
    void post(EngineMessage message) {
        inbox.post(message);
        if (ended) {
            refuseInbox();
        }
    }

    @Override
    public void run() {
        try {
            while (!closing) {
                // Nothing changes what is running while a step is under way: it writes to blocks.
                int work = isUnderWay ? 0 : readInbox();
                work += closing ? 0 : step();
                publishGauges();
                if (work == 0) {
                    inbox.await();
                }
            }
        } catch (RuntimeException | Error e) {
            failure = e;
            LOG.error("the engine stops: a step failed", e);
        } finally {
            end();
        }
    }

    private int readInbox() {
        int read = 0;
        for (EngineMessage message = inbox.poll(); message != null; message = inbox.poll()) {
            read++;
            take(message);
        }
        return read;
    }

    private void take(EngineMessage message) {
        switch (message) {
            case EngineMessage.Submit(Request request) -> scheduler.add(request);
            case EngineMessage.Abort(String requestId) -> scheduler.abort(requestId);
            case EngineMessage.Stop(String requestId) -> scheduler.stop(requestId);
            case EngineMessage.Transferred(var event) -> scheduler.onKvEvent(event);
            case EngineMessage.CheckIntegrity question -> checkIntegrity(question);
            case EngineMessage.ResetPrefixCache question -> question.answer().complete(resetPrefixCache());
            case EngineMessage.Close() -> closing = true;
        }
    }

    /// While a device computes, what is of no step is not made to wait for it: with a step launched ahead that
    /// would be two of them.
    private void takeDuringStep() {
        while (!runner.isFinishDue()) {
            EngineMessage message = inbox.pollDuringStep();
            if (message == null) {
                Thread.onSpinWait();
            } else {
                take(message);
            }
        }
    }

    /// One step: schedule, launch, wait, update. Where nobody has sent a message and the next step will be the same
    /// requests, that is launched before this one is waited for, as in vLLM's asynchronous scheduling, so that the
    /// device goes from one to the other.
    ///
    /// @return 0 if there was nothing to do, and there will be nothing until a message comes
    private int step() {
        stepEvent.begin();
        if (!isUnderWay) {
            scheduler.schedule(scheduled);
            if (scheduled.numRequests() == 0) {
                return scheduled.numPreempted();
            }
        }
        stepStartNanos.set(Math.max(1, System.nanoTime()));
        if (!isUnderWay) {
            transfers.stepBegins(scheduled);
            runner.launch(scheduled);
        }
        boolean ahead = runner.canRunAhead() && inbox.isEmpty() && scheduler.scheduleAhead(scheduled, next);
        if (ahead) {
            runner.launch(next);
        }
        takeDuringStep();
        runner.finish(scheduled, output);
        transfers.stepComputed();
        scheduler.update(scheduled, output, ahead);
        stepStartNanos.set(0);
        recordStep();
        int work = scheduled.numRequests() + scheduled.numPreempted();
        isUnderWay = ahead;
        if (ahead) {
            SchedulerOutput done = scheduled;
            scheduled = next;
            next = done;
        }
        return work;
    }

    private void recordStep() {
        if (stepEvent.isEnabled()) {
            stepEvent.requests = scheduled.numRequests();
            stepEvent.tokens = scheduled.numTokens();
            stepEvent.preempted = scheduled.numPreempted();
            stepEvent.running = scheduler.numRunning();
            stepEvent.waiting = scheduler.numWaiting();
            stepEvent.deviceMicros = Math.round(runner.deviceMillis() * MICROS_A_MILLI);
            stepEvent.end();
            stepEvent.commit();
        }
    }

    private void checkIntegrity(EngineMessage.CheckIntegrity question) {
        try {
            kv.checkIntegrity();
            int inUse = kv.numBlocks() - kv.numFree() - kv.numCached();
            question.answer().complete(new BlockUsage(kv.numFree(), kv.numCached(), inUse, kv.numBlocks()));
        } catch (IllegalStateException e) {
            question.answer().completeExceptionally(e);
        }
    }

    private boolean resetPrefixCache() {
        if (scheduler.numRunning() > 0) {
            return false;
        }
        kv.reset();
        return true;
    }

    private void publishGauges() {
        counters.running.lazySet(scheduler.numRunning());
        counters.waiting.lazySet(scheduler.numWaiting());
        counters.loading.lazySet(transfers.numLoading());
        counters.held.lazySet(transfers.numHeld());
        counters.blocks(kv.numFree(), kv.numCached());
    }

    private void end() {
        ended = true;
        Throwable cause = failure;
        if (cause == null) {
            scheduler.endAll(FinishReason.ABORT, null);
        } else {
            scheduler.endAll(FinishReason.ERROR, "the engine stopped: " + cause);
        }
        refuseInbox();
        try {
            closeResources.run();
        } catch (RuntimeException | Error e) {
            LOG.error("the engine's resources could not all be closed", e);
        }
    }

    /// Answers questions that came too late. Requests are not answered here: [Scheduler#endAll] and
    /// [Engine#submit] share them out.
    private void refuseInbox() {
        for (EngineMessage message = inbox.poll(); message != null; message = inbox.poll()) {
            switch (message) {
                case EngineMessage.CheckIntegrity(var answer) -> answer.completeExceptionally(dead());
                case EngineMessage.ResetPrefixCache(var answer) -> answer.completeExceptionally(dead());
                case EngineMessage.Submit _,
                        EngineMessage.Abort _,
                        EngineMessage.Stop _,
                        EngineMessage.Transferred _,
                        EngineMessage.Close _ -> {}
            }
        }
    }

    boolean hasEnded() {
        return ended;
    }

    /// Why the engine takes no more requests, once it has ended.
    EngineException.Dead dead() {
        Throwable cause = failure;
        return cause == null
                ? new EngineException.Dead("the engine is closed")
                : new EngineException.Dead("the engine stopped after an error: " + cause, cause);
    }

    /// Whether the thread lives and no step has run for longer than the deadline.
    boolean isHealthy() {
        long start = stepStartNanos.get();
        return !ended && thread.isAlive() && (start == 0 || System.nanoTime() - start <= stepDeadlineNanos);
    }

    /// Waits for the thread's end; returns at once on the thread itself.
    ///
    /// @return whether it has ended
    boolean awaitEnd(Duration limit) {
        if (Thread.currentThread().equals(thread)) {
            return true;
        }
        try {
            return thread.join(limit);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
