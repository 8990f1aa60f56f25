package dev.baton.transfer.tcp;

import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.PushParams;

/// The contract with prompts that the decoder asks for by their transfer's id, as a router names them before the
/// prefill has run: here it asks after it.
class TcpPushContractTest extends ConnectorContract {
    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        return new KvTransferConfig(TcpConnector.NAME, role, side.name(), "127.0.0.1", 0, policy, TestInstance.PATIENT);
    }

    @Override
    protected EngineRequest prefillRequest(EnginePair pair, String id, int[] prompt) {
        return new EngineRequest(id, prompt, SamplingParams.greedy(1), PushParams.prefill("xfer-" + id));
    }

    @Override
    protected EngineRequest decodeRequest(
            EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        KvTransferParams params =
                PushParams.decode("xfer-" + id, Side.PREFILLER.name(), PushParams.port(pair.prefillerConnector()));
        return new EngineRequest(id, prompt, SamplingParams.greedy(maxTokens), params);
    }
}
