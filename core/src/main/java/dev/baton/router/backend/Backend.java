package dev.baton.router.backend;

import dev.baton.discovery.EngineInfo;

/// A kind of fleet: how its engines hand a prompt's KV cache over. One record per hand-over protocol; each rule
/// is a pure function from JSON to JSON, so that it can be tested as a table. Implementations are stateless and
/// thread-safe.
public sealed interface Backend permits Nixl, SharedStore {
    /// vLLM's field for what a connector has to know.
    String KV_TRANSFER_PARAMS = "kv_transfer_params";

    /// How one request is handed over between two engines.
    ///
    /// @param requestId unique to this try of this request
    /// @throws HandoffException if one of the engines lacks what the protocol needs of it
    Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId);

    /// Whether a prefiller also answers a request that is not handed over, from its first token to its last.
    default boolean prefillersServeAlone() {
        return false;
    }
}
