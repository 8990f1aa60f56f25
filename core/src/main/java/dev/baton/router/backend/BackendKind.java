package dev.baton.router.backend;

import java.util.Locale;

/// The kinds of fleets by the names that flags have for them.
public enum BackendKind {
    /// Baton's own engines and vLLM with NixlConnector, as each pair of them needs it.
    AUTO,
    /// Baton's own engines.
    BATON,
    /// vLLM with NixlConnector.
    NIXL,
    /// vLLM with NixlPushConnector.
    NIXL_PUSH,
    /// vLLM with P2pNcclConnector.
    P2P_NCCL,
    /// vLLM with P2pNcclConnector, patched so that decoders serve alone.
    P2P_NCCL_PPD,
    /// vLLM with P2pNcclConnector or NixlConnector, as vllm-project/router drives it.
    VLLM,
    /// vLLM with MooncakeConnector.
    MOONCAKE,
    /// Engines over one KV store, found by token hashes.
    SHARED_STORE,
    /// vLLM with LMCacheConnectorV1 over one store.
    LMCACHE,
    /// vLLM with LMCacheConnectorV1 in PD mode.
    LMCACHE_PD,
    /// vLLM with LMCacheMPConnector.
    LMCACHE_MP,
    /// SGLang in its disaggregation modes.
    SGLANG,
    /// Decoders behind llm-d's routing sidecar.
    LLM_D;

    /// The rules of this kind.
    public Backend backend() {
        return switch (this) {
            case AUTO -> new NixlOrBaton();
            case BATON -> new Baton();
            case NIXL -> new Nixl();
            case NIXL_PUSH -> new NixlPush();
            case P2P_NCCL -> new P2pNccl(false);
            case P2P_NCCL_PPD -> new P2pNccl(true);
            case VLLM -> new VllmAny();
            case MOONCAKE -> new Mooncake();
            case SHARED_STORE, LMCACHE -> new SharedStore();
            case LMCACHE_PD -> new LmCachePd();
            case LMCACHE_MP -> new LmCacheMp();
            case SGLANG -> new SgLang();
            case LLM_D -> new LlmD();
        };
    }

    /// The name as it stands in flags.
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}
