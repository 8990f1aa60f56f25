package dev.baton.transfer.p2p;

import dev.baton.engine.EngineRequest;
import dev.baton.engine.SamplingParams;
import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferParams;
import java.util.Map;

/// With GET: decoders ask for the blocks that they miss.
class P2pContractTest extends ConnectorContract {
    /// How blocks come to the decoder.
    P2pOptions.SendType sendType() {
        return P2pOptions.SendType.GET;
    }

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        return new KvTransferConfig(
                P2pNcclConnector.NAME,
                role,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                Map.of(
                        "send_type",
                        sendType().name(),
                        "kv_peer_timeout",
                        10,
                        "kv_connect_timeout",
                        10,
                        "kv_load_timeout",
                        5));
    }

    private static EngineRequest leg(EnginePair pair, String id, int[] prompt, int maxTokens) {
        String route = P2pInstance.id(
                ((P2pNcclConnector) pair.prefillerConnector()).zmqAddress(),
                ((P2pNcclConnector) pair.decoderConnector()).zmqAddress(),
                id);
        return new EngineRequest(
                id,
                route,
                prompt,
                new int[0],
                SamplingParams.greedy(maxTokens),
                0,
                EngineRequest.NO_TENANT,
                KvTransferParams.NONE);
    }

    @Override
    protected EngineRequest prefillRequest(EnginePair pair, String id, int[] prompt) {
        return leg(pair, id, prompt, 1);
    }

    @Override
    protected EngineRequest decodeRequest(
            EnginePair pair, String id, int[] prompt, int maxTokens, KvTransferParams answer) {
        return leg(pair, id, prompt, maxTokens);
    }
}
