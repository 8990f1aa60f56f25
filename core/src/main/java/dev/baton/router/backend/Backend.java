package dev.baton.router.backend;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineInfo;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/// A kind of fleet: how its engines hand a prompt's KV cache over. One record per hand-over protocol; each rule
/// is a pure function from JSON to JSON, so that it can be tested as a table. Implementations are stateless and
/// thread-safe.
public sealed interface Backend
        permits Baton,
                LlmD,
                LmCacheMp,
                LmCachePd,
                Mooncake,
                Nixl,
                NixlOrBaton,
                NixlPush,
                P2pNccl,
                SgLang,
                SharedStore,
                VllmAny {
    /// vLLM's field for what a connector has to know.
    String KV_TRANSFER_PARAMS = "kv_transfer_params";

    /// How one request is handed over between two engines.
    ///
    /// @param requestId of this request; whatever has to be unique to this try is drawn here
    /// @throws HandoffException if one of the engines lacks what the protocol needs of it
    Handoff handoff(EngineInfo prefiller, EngineInfo decoder, String requestId);

    /// The rules that hold between two engines, where it depends on them.
    ///
    /// @param bothPush whether both have said that they give or take prompts also while they are computed
    default Backend between(boolean bothPush) {
        return this;
    }

    /// Whether requests can be handed over as a push too, while their prompt is computed.
    default boolean pushes() {
        return false;
    }

    /// As [#handoff], as a push.
    ///
    /// @return empty if it cannot be, because the prefiller's endpoint is not known yet
    default Optional<Handoff> push(EngineInfo prefiller, EngineInfo decoder, String requestId) {
        return Optional.empty();
    }

    /// Where a prefiller's connector listens, by what one of its answers says ([Handoff#found]).
    default Optional<ConnectorEndpoint> endpoint(JsonNode found) {
        return Optional.empty();
    }

    /// What hand-overs need of an engine and its description lacks, and how that is said: no request can be
    /// handed over to or from it.
    ///
    /// @return a sentence without its end; empty if nothing lacks
    default Optional<String> lacks(EngineInfo engine) {
        return Optional.empty();
    }

    /// Whether what an engine lacks at first is asked of it while the router runs.
    default boolean findsOutWhatLacks() {
        return false;
    }

    /// Whether requests with several prompts or sequences are handed over as well. Where a prefiller's answer
    /// describes one KV cache only, they are not.
    default boolean handsOverBatches() {
        return false;
    }

    /// Whether a decoder serves a request that no prefiller has seen. If not, such a request would end the
    /// engine or wait in it for ever, so that every route has to have a prefiller, and what cannot be handed
    /// over is refused.
    default boolean decodersServeAlone() {
        return true;
    }

    /// `X-Request-Id` of a request that goes to a decoder alone.
    default String directRequestId(String requestId) {
        return requestId;
    }

    /// Whether a prefiller also answers a request that is not handed over, from its first token to its last.
    default boolean prefillersServeAlone() {
        return false;
    }
}
