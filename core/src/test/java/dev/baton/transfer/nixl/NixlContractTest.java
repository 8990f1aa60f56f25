package dev.baton.transfer.nixl;

import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;

/// Over the real NIXL, where it is.
class NixlContractTest extends ConnectorContract {
    @BeforeAll
    static void nixlIsThere() {
        NixlHome _ = NixlInstance.home();
    }

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        return new KvTransferConfig(
                NixlConnector.NAME, role, side.name(), "127.0.0.1", 0, policy, Map.of("vllm_block_size", BLOCK_TOKENS));
    }
}
