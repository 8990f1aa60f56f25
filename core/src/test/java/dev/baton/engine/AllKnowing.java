package dev.baton.engine;

import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvFinished;
import dev.baton.transfer.KvHold;
import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import java.util.List;

/// Knows every prompt, and brings as much of it as the test says, in events of its own.
final class AllKnowing implements KvConnector, KvConnector.SchedulerSide {
    @Override
    public SchedulerSide scheduler() {
        return this;
    }

    @Override
    public WorkerSide worker() {
        throw new AssertionError("no load is ended early here");
    }

    @Override
    public String describe() {
        return "AllKnowing";
    }

    @Override
    public void close() {}

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        return request.numTokens() - numComputedTokens;
    }

    @Override
    public void updateStateAfterAlloc(
            KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {}

    @Override
    public List<KvLoad> takeLoads() {
        return List.of();
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        return new KvHold.FreeNow();
    }
}
