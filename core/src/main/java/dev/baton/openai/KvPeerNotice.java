package dev.baton.openai;

import tools.jackson.databind.JsonNode;

/// The body of `POST /kv_peers`, of Baton alone: another instance whose KV blocks will be fetched, in the
/// fields that `kv_transfer_params` name it by.
///
/// @param engineId `remote_engine_id`
/// @param host `remote_host`
/// @param port `remote_port`; 0 for one that nobody can connect to
public record KvPeerNotice(String engineId, String host, int port) {
    private static final int MAX_PORT = 65_535;

    /// Reads and checks a body.
    ///
    /// @throws ApiException that says what is wrong, in vLLM's way
    public static KvPeerNotice parse(JsonNode body) {
        Fields fields = Fields.ofBody(body);
        String engineId = fields.string("remote_engine_id").orElse("");
        String host = fields.string("remote_host").orElse("");
        int port = fields.integer("remote_port").orElse(-1);
        if (engineId.isEmpty()) {
            fields.missing("remote_engine_id");
        }
        if (host.isEmpty()) {
            fields.missing("remote_host");
        }
        if (port < 0 || port > MAX_PORT) {
            fields.missing("remote_port");
        }
        fields.check();
        return new KvPeerNotice(engineId, host, port);
    }
}
