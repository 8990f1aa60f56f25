package dev.baton.transfer;

import java.util.List;
import java.util.Map;

/// A connector that hands blocks over, and one that keeps them.
class MultiContractTest extends ConnectorContract {
    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        return new KvTransferConfig(
                MultiConnector.NAME,
                KvRole.KV_BOTH,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                Map.of(
                        "connectors",
                        List.of(
                                Map.of(
                                        "kv_connector",
                                        "TcpConnector",
                                        "kv_connector_extra_config",
                                        Map.of("kv_peer_timeout", 10, "kv_connect_timeout", 10)),
                                Map.of(
                                        "kv_connector",
                                        "OffloadingConnector",
                                        "kv_connector_extra_config",
                                        Map.of("cpu_bytes_to_use", 1_000_000)))));
    }
}
