package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.VllmLayout;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Settings of the Mooncake store connector: `kv_connector_extra_config`, before it the file that
/// `MOONCAKE_CONFIG_PATH` names, with vLLM's keys. Durations are given in seconds, fractions allowed.
///
/// @param cluster the cluster's keys of the file
/// @param home `mooncake_home`, else `MOONCAKE_HOME`: where Mooncake is; looked for if it is not given
/// @param modelName `model_name`: what keys begin with; the last part of the model's path unless it is set
/// @param cachePrefix `cache_prefix`: put before every key
/// @param lookup `enable_lookup`: whether prompts are looked for
/// @param saveDecodeCache `save_decode_cache`: whether blocks with tokens of the output are saved
/// @param vllmLayout `vllm_kv_layout`: how the blocks of the vLLM engines are laid out that share the store; if
///     it is not set, keys are Baton's own and nothing is shared with vLLM
/// @param hashSeed `PYTHONHASHSEED`, else vLLM's text for none
/// @param stagingBytes `staging_bytes`: memory that values go through
/// @param connectTimeout `kv_connect_timeout`: how long Mooncake's client may take to join the cluster, the start
///     of a helper process included
/// @param operationTimeout `kv_peer_timeout`: how long the cluster may take for one call
/// @param loadTimeout `load_timeout`: longest that a load takes
/// @param metricsPort `master_metrics_port`: where the master answers HTTP, for reads without Mooncake's library
/// @param trustedNetwork `kv_trusted_network`: whether Mooncake's library may listen beyond this machine
record MooncakeStoreOptions(
        Cluster cluster,
        Optional<Path> home,
        String modelName,
        String cachePrefix,
        boolean lookup,
        boolean saveDecodeCache,
        Optional<VllmLayout> vllmLayout,
        String hashSeed,
        long stagingBytes,
        Duration connectTimeout,
        Duration operationTimeout,
        Duration loadTimeout,
        int metricsPort,
        boolean trustedNetwork) {

    private static final String MODE = "mode";
    private static final Set<String> CLUSTER_KEYS =
            Stream.concat(Stream.of(MODE), Cluster.KEYS.stream()).collect(Collectors.toUnmodifiableSet());
    private static final Set<String> OWN_KEYS = Set.of(
            MooncakeAccess.HOME,
            "model_name",
            "cache_prefix",
            "enable_lookup",
            "save_decode_cache",
            "vllm_kv_layout",
            "staging_bytes",
            "kv_connect_timeout",
            "kv_peer_timeout",
            "load_timeout",
            MooncakeAccess.METRICS_PORT,
            Exposure.TRUSTED_NETWORK);
    /// Keys of vLLM's whose outcome is the same here: it looks for prompts and loads beside the engine's steps
    /// anyway.
    private static final Set<String> IGNORED =
            Set.of("load_async", "lookup_async", "lookup_rpc_port", "enable_group_semantics", "enable_offload");

    private static final String EMBEDDED = "embedded";
    private static final String STANDALONE = "standalone-store";
    private static final long DEFAULT_SEGMENT_BYTES = 4L << 30;
    private static final long MAX_BYTES = 1L << 50;

    /// Reads the settings.
    ///
    /// @param modelId of the model that is served, a path perhaps
    /// @param environment like [System#getenv()]
    /// @throws TransferException if a key is unknown, missing or out of range
    static MooncakeStoreOptions from(Map<String, Object> settings, String modelId, Map<String, String> environment) {
        Map<String, Object> all = new HashMap<>();
        MooncakeAccess.file(environment).ifPresent(found -> {
            all.put(MODE, EMBEDDED); // vLLM's default
            all.putAll(found);
            all.keySet().retainAll(CLUSTER_KEYS); // others are Mooncake's, and not for this connector
        });
        all.putAll(settings);
        Set<String> keys = new HashSet<>(OWN_KEYS);
        keys.addAll(CLUSTER_KEYS);
        ExtraConfig extra = new ExtraConfig(MooncakeStoreConnector.NAME, all, keys, IGNORED);
        String layout = extra.text("vllm_kv_layout", "");
        return new MooncakeStoreOptions(
                cluster(extra, all),
                MooncakeAccess.home(extra.text(MooncakeAccess.HOME), environment),
                Cluster.word(MooncakeStoreConnector.NAME, all, "model_name", lastPart(modelId)),
                Cluster.word(MooncakeStoreConnector.NAME, all, "cache_prefix", ""),
                extra.truth("enable_lookup", true),
                extra.truth("save_decode_cache", false),
                layout.isEmpty() ? Optional.empty() : Optional.of(VllmLayout.of(layout)),
                environment.getOrDefault("PYTHONHASHSEED", VllmNames.NO_SEED),
                extra.count("staging_bytes", 1, MAX_BYTES, 64L << 20),
                extra.seconds("kv_connect_timeout", MooncakeAccess.DEFAULT_START_TIMEOUT),
                extra.seconds("kv_peer_timeout", Duration.ofSeconds(5)),
                extra.seconds("load_timeout", Duration.ofSeconds(10)),
                (int) extra.count(MooncakeAccess.METRICS_PORT, 1, 65_535, MooncakeAccess.DEFAULT_METRICS_PORT),
                extra.truth(Exposure.TRUSTED_NETWORK, false));
    }

    private static Cluster cluster(ExtraConfig extra, Map<String, Object> all) {
        String mode = extra.text(MODE, STANDALONE);
        if (!mode.equals(EMBEDDED) && !mode.equals(STANDALONE)) {
            throw new TransferException("%s: mode is \"%s\"; needed: %s or %s"
                    .formatted(MooncakeStoreConnector.NAME, mode, EMBEDDED, STANDALONE));
        }
        long segment = Cluster.size(
                MooncakeStoreConnector.NAME, all, Cluster.SEGMENT, mode.equals(EMBEDDED) ? DEFAULT_SEGMENT_BYTES : 0);
        if ((segment > 0) != mode.equals(EMBEDDED)) {
            throw new TransferException("%s: %s is %d with mode %s; %s gives memory to the cluster, %s gives none"
                    .formatted(MooncakeStoreConnector.NAME, Cluster.SEGMENT, segment, mode, EMBEDDED, STANDALONE));
        }
        if (extra.text(Cluster.MASTER).isEmpty()) {
            throw new TransferException(
                    "%s needs %s, host:port of mooncake_master, in kv_connector_extra_config or in the file that %s names"
                            .formatted(MooncakeStoreConnector.NAME, Cluster.MASTER, MooncakeAccess.CONFIG_PATH));
        }
        return Cluster.of(MooncakeStoreConnector.NAME, all, segment);
    }

    /// vLLM's name of a model in keys.
    private static String lastPart(String modelId) {
        String path = modelId.replaceAll("/+$", "");
        return path.substring(path.lastIndexOf('/') + 1);
    }

    /// How this process gets at the cluster.
    ///
    /// @param host how other nodes reach it
    MooncakeAccess access(String host) {
        return new MooncakeAccess(cluster, host, home, metricsPort, connectTimeout, operationTimeout, trustedNetwork);
    }
}
