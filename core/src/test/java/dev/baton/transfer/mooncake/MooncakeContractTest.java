package dev.baton.transfer.mooncake;

import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.util.Map;

class MooncakeContractTest extends ConnectorContract {
    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        return new KvTransferConfig(
                MooncakeConnector.NAME,
                role,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10, "bootstrap_port", 0));
    }

    @Override
    protected EngineRequest prefillRequest(EnginePair pair, String id, int[] prompt) {
        return new EngineRequest(
                id,
                prompt,
                SamplingParams.greedy(1),
                new KvTransferParams(Map.of("do_remote_decode", true, "transfer_id", "x-" + id)));
    }

    @Override
    protected EngineRequest decodeRequest(
            EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        MooncakeConnector prefiller = (MooncakeConnector) pair.prefillerConnector();
        return new EngineRequest(
                id,
                prompt,
                SamplingParams.greedy(maxTokens),
                new KvTransferParams(Map.of(
                        "do_remote_prefill",
                        true,
                        "transfer_id",
                        "x-" + id,
                        "remote_engine_id",
                        Side.PREFILLER.name(),
                        "remote_bootstrap_addr",
                        prefiller.bootstrapAddress().orElseThrow())));
    }
}
