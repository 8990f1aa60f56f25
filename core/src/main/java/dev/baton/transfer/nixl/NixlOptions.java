package dev.baton.transfer.nixl;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Settings of the NIXL connector, from `kv_connector_extra_config`. Durations are given in seconds, fractions
/// allowed.
///
/// @param nixlHome `nixl_home`: where the NIXL library lies; looked for if it is not given
/// @param leaseDuration `kv_lease_duration`: how long blocks are kept that no decoder asks for
/// @param leaseExtension `kv_lease_extension`: what one heartbeat adds, two thirds of the duration unless set
/// @param heartbeatInterval `kv_heartbeat_interval`: how often a decoder renews, a sixth of the duration unless set
/// @param peerTimeout `kv_peer_timeout`: how long a prefiller that owes an answer or bytes may be silent
/// @param allowedHosts `kv_allowed_hosts`: values of `remote_host` that are dialled; any if it is empty
/// @param trustedNetwork `kv_trusted_network`: whether the side channel may listen beyond this machine
/// @param checksum `kv_checksum`: whether blocks from a Baton are checked against its checksums
/// @param enforceHandshake `enforce_handshake_compat`: whether another compatibility hash is refused
/// @param vllmPeers `vllm_peers`: whether vLLM engines may read here, which needs the mirror; not where the KV cache
///     is in a GPU's memory
/// @param vllmBlockTokens `vllm_block_size`: tokens in a block of the mirror, the decoder's block size or a divisor
/// @param mirrorBytes `vllm_mirror_bytes`: most memory for the mirror
/// @param stagingBytes `vllm_staging_bytes`: memory through which blocks of a vLLM engine come
/// @param cpuIsa `vllm_cpu_isa`: how vLLM's CPU attention packs keys, its `_get_attn_isa`
/// @param compatibility factors of vLLM's compatibility hash
record NixlOptions(
        Optional<Path> nixlHome,
        Duration leaseDuration,
        Duration leaseExtension,
        Duration heartbeatInterval,
        Duration peerTimeout,
        Set<String> allowedHosts,
        boolean trustedNetwork,
        boolean checksum,
        boolean enforceHandshake,
        boolean vllmPeers,
        int vllmBlockTokens,
        long mirrorBytes,
        long stagingBytes,
        String cpuIsa,
        Compatibility compatibility) {

    static final String VLLM_BLOCK_SIZE = "vllm_block_size";
    static final String MIRROR_BYTES = "vllm_mirror_bytes";
    static final String STAGING_BYTES = "vllm_staging_bytes";
    static final String CPU_ISA = "vllm_cpu_isa";

    private static final Set<String> USED = Set.of(
            "nixl_home",
            "kv_lease_duration",
            "kv_lease_extension",
            "kv_heartbeat_interval",
            "kv_peer_timeout",
            "kv_allowed_hosts",
            Exposure.TRUSTED_NETWORK,
            "kv_checksum",
            "enforce_handshake_compat",
            "vllm_peers",
            VLLM_BLOCK_SIZE,
            MIRROR_BYTES,
            STAGING_BYTES,
            CPU_ISA,
            "vllm_version",
            "vllm_nixl_connector_version",
            "vllm_model",
            "vllm_dtype",
            "vllm_attn_backend",
            "vllm_cache_dtype",
            "vllm_is_hma_enabled");
    /// Keys of vLLM's connector that mean nothing here.
    private static final Set<String> IGNORED =
            Set.of("backends", "num_threads", "engine_ttl", "kv_recompute_threshold", "decoder_kv_blocks_ttl");

    /// Reads the settings.
    ///
    /// @param isOnDevice whether the KV cache is in a GPU's memory
    /// @throws TransferException if a key is unknown or a value is out of range
    static NixlOptions from(Map<String, Object> fields, KvCacheSpec spec, boolean isOnDevice) {
        ExtraConfig extra = new ExtraConfig(NixlConnector.NAME, fields, USED, IGNORED);
        boolean vllmPeers = extra.truth("vllm_peers", !isOnDevice);
        if (vllmPeers && isOnDevice) {
            throw new TransferException("kv_connector_extra_config: vllm_peers is true, but vLLM engines cannot read a"
                    + " KV cache in a GPU's memory here; leave it out, or start with --device cpu");
        }
        Duration lease = extra.seconds("kv_lease_duration", Duration.ofSeconds(30));
        return new NixlOptions(
                extra.text("nixl_home").map(Path::of),
                lease,
                extra.seconds("kv_lease_extension", lease.multipliedBy(2).dividedBy(3)),
                extra.seconds("kv_heartbeat_interval", lease.dividedBy(6)),
                extra.seconds("kv_peer_timeout", Duration.ofSeconds(5)),
                extra.hosts("kv_allowed_hosts"),
                extra.truth(Exposure.TRUSTED_NETWORK, false),
                extra.truth("kv_checksum", true),
                extra.truth("enforce_handshake_compat", true),
                vllmPeers,
                (int) extra.count(VLLM_BLOCK_SIZE, 1, 1 << 16, 128),
                extra.count(MIRROR_BYTES, 1, 1L << 50, 1L << 30),
                extra.count(STAGING_BYTES, 1, 1L << 40, 64L << 20),
                extra.text(CPU_ISA).orElse(cpuIsa(spec.dtype())),
                new Compatibility(
                        extra.text("vllm_version").orElse("0.32.0"),
                        (int) extra.count("vllm_nixl_connector_version", 1, 1 << 16, 14),
                        extra.text("vllm_model").orElse(spec.modelId()),
                        "torch." + extra.text("vllm_dtype").orElse(spec.dtype()),
                        spec.kvHeads(),
                        spec.headDim(),
                        spec.layers(),
                        extra.text("vllm_attn_backend").orElse("CPU_ATTN"),
                        extra.text("vllm_cache_dtype").orElse("auto"),
                        extra.truth("vllm_is_hma_enabled", true)));
    }

    /// What vLLM would choose on this machine: AMX for bfloat16 where the processor has it.
    private static String cpuIsa(String dtype) {
        try {
            boolean amx = Files.readString(Path.of("/proc/cpuinfo")).contains(" amx_tile");
            return amx && dtype.equals("bfloat16") ? "amx" : "vec";
        } catch (IOException e) {
            return "vec";
        }
    }
}
