package dev.baton.router.policy;

import java.util.List;

/// The engines that a request could go to, with what is known of each. Short-lived; used under the policy's lock.
///
/// @param engines in the order of the fleet
/// @param states by position in `engines`
/// @param heldBlocks blocks of the prompt that went to each, by position in `engines`
/// @param heldTokens tokens of the prompt that went to each or were written there
/// @param cachedTokens those of them that each is believed to have still
/// @param nowNanos when they were looked at
record Candidates<E extends EngineView>(
        List<E> engines,
        EngineState[] states,
        int[] heldBlocks,
        double[] heldTokens,
        double[] cachedTokens,
        long nowNanos) {
    int size() {
        return states.length;
    }

    /// Requests on an engine for its weight.
    double load(int index) {
        E engine = engines.get(index);
        EngineLoad said = engine.load();
        return Math.max(engine.inFlight(), said.running() + said.waiting()) / engine.weight();
    }

    /// The share of its time that it computed prompts of late, for its weight.
    double work(int index) {
        return states[index].prefillShare(nowNanos) / weight(index);
    }

    double weight(int index) {
        return engines.get(index).weight();
    }
}
