package dev.baton.transfer;

import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;

/// The contract of connectors that keep blocks where both engines find them by their content: requests name no
/// hand-off, and whole blocks alone are there.
public abstract class StoreContract extends ConnectorContract {
    @Override
    protected EngineRequest prefillRequest(EnginePair pair, String id, int[] prompt) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(1));
    }

    @Override
    protected EngineRequest decodeRequest(
            EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens));
    }

    @Override
    protected int loadable(int promptTokens) {
        return promptTokens / BLOCK_TOKENS * BLOCK_TOKENS;
    }

    @Override
    protected boolean isStore() {
        return true;
    }
}
