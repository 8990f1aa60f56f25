package dev.baton.transfer.tcp;

import dev.baton.transfer.ConnectorContract;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;

class TcpContractTest extends ConnectorContract {
    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        KvRole role = side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER;
        return new KvTransferConfig(TcpConnector.NAME, role, side.name(), "127.0.0.1", 0, policy, TestInstance.PATIENT);
    }
}
