package dev.baton.transfer;

import java.util.Map;

/// What a router says in the two legs of a push.
public final class PushParams {
    private PushParams() {}

    public static KvTransferParams prefill(String transferId) {
        return KvTransferParams.REMOTE_DECODE.with("transfer_id", transferId);
    }

    public static KvTransferParams decode(String transferId, String engineId, int port) {
        return new KvTransferParams(Map.of(
                "do_remote_prefill",
                true,
                "remote_engine_id",
                engineId,
                "remote_host",
                "127.0.0.1",
                "remote_port",
                port,
                "transfer_id",
                transferId));
    }

    /// Where a connector listens.
    public static int port(KvConnector connector) {
        String description = connector.describe();
        return Integer.parseInt(description.substring(description.lastIndexOf(':') + 1));
    }
}
