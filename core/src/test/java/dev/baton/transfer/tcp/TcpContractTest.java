package dev.baton.transfer.tcp;

import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import java.util.Map;

class TcpContractTest extends ConnectorContract {
    /// Whether the two map each other's pools, which they can, being on one host.
    protected boolean sharesMemory() {
        return false;
    }

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        Map<String, Object> extra =
                TestInstance.with(TestInstance.PATIENT, Map.of(TcpOptions.SHARED_MEMORY, sharesMemory()));
        return new KvTransferConfig(TcpConnector.NAME, role, side.name(), "127.0.0.1", 0, policy, extra);
    }
}
