package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.SmallJson;
import dev.baton.transfer.mooncake.VllmLayout;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

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
        Duration operationTimeout,
        Duration loadTimeout,
        int metricsPort,
        boolean trustedNetwork) {

    private static final String CONFIG_PATH = "MOONCAKE_CONFIG_PATH";
    private static final String MASTER = "master_server_address";
    private static final String METADATA = "metadata_server";
    private static final String PROTOCOL = "protocol";
    private static final String DEVICE = "device_name";
    private static final String MODE = "mode";
    private static final String SEGMENT = "global_segment_size";
    private static final String BUFFER = "local_buffer_size";
    private static final String TENANT = "tenant_id";
    private static final Set<String> CLUSTER_KEYS =
            Set.of(MASTER, METADATA, PROTOCOL, DEVICE, MODE, SEGMENT, BUFFER, TENANT);
    private static final Set<String> OWN_KEYS = Set.of(
            "mooncake_home",
            "model_name",
            "cache_prefix",
            "enable_lookup",
            "save_decode_cache",
            "vllm_kv_layout",
            "staging_bytes",
            "kv_peer_timeout",
            "load_timeout",
            "master_metrics_port",
            Exposure.TRUSTED_NETWORK);
    /// Keys of vLLM's whose outcome is the same here: it looks for prompts and loads beside the engine's steps
    /// anyway.
    private static final Set<String> IGNORED =
            Set.of("load_async", "lookup_async", "lookup_rpc_port", "enable_group_semantics", "enable_offload");

    private static final String EMBEDDED = "embedded";
    private static final String STANDALONE = "standalone-store";
    private static final long DEFAULT_SEGMENT_BYTES = 4L << 30;
    private static final long DEFAULT_BUFFER_BYTES = 64L << 20;
    private static final long MAX_BYTES = 1L << 50;
    private static final Pattern SIZE = Pattern.compile("\\s*([0-9]+(?:\\.[0-9]+)?)\\s*(gb|mb|kb|b)?\\s*");

    /// Reads the settings.
    ///
    /// @param modelId of the model that is served, a path perhaps
    /// @param environment like [System#getenv()]
    /// @throws TransferException if a key is unknown, missing or out of range
    static MooncakeStoreOptions from(Map<String, Object> settings, String modelId, Map<String, String> environment) {
        Map<String, Object> all = new HashMap<>();
        String file = environment.getOrDefault(CONFIG_PATH, "");
        if (!file.isEmpty()) {
            all.put(MODE, EMBEDDED); // vLLM's default
            all.putAll(read(Path.of(file)));
        }
        all.putAll(settings);
        Set<String> keys = new HashSet<>(OWN_KEYS);
        keys.addAll(CLUSTER_KEYS);
        ExtraConfig extra = new ExtraConfig(MooncakeStoreConnector.NAME, all, keys, IGNORED);
        String layout = extra.text("vllm_kv_layout", "");
        return new MooncakeStoreOptions(
                cluster(extra, all),
                extra.text("mooncake_home")
                        .or(() -> Optional.ofNullable(environment.get("MOONCAKE_HOME"))
                                .filter(home -> !home.isBlank()))
                        .map(Path::of),
                word(extra, "model_name", lastPart(modelId)),
                word(extra, "cache_prefix", ""),
                extra.truth("enable_lookup", true),
                extra.truth("save_decode_cache", false),
                layout.isEmpty() ? Optional.empty() : Optional.of(VllmLayout.of(layout)),
                environment.getOrDefault("PYTHONHASHSEED", VllmNames.NO_SEED),
                extra.count("staging_bytes", 1, MAX_BYTES, 64L << 20),
                extra.seconds("kv_peer_timeout", Duration.ofSeconds(5)),
                extra.seconds("load_timeout", Duration.ofSeconds(10)),
                (int) extra.count("master_metrics_port", 1, 65_535, 9003),
                extra.truth(Exposure.TRUSTED_NETWORK, false));
    }

    private static Map<String, Object> read(Path file) {
        try {
            Map<String, Object> found = new HashMap<>(
                    SmallJson.map(file.toString(), Files.readAllBytes(file)).map());
            found.keySet().retainAll(CLUSTER_KEYS); // others are Mooncake's, and not for this connector
            return found;
        } catch (ProtocolException e) {
            throw new TransferException("%s: %s".formatted(CONFIG_PATH, e.getMessage()), e);
        } catch (IOException e) {
            throw new TransferException("%s: %s cannot be read: %s".formatted(CONFIG_PATH, file, e), e);
        }
    }

    private static Cluster cluster(ExtraConfig extra, Map<String, Object> all) {
        String mode = extra.text(MODE, STANDALONE);
        if (!mode.equals(EMBEDDED) && !mode.equals(STANDALONE)) {
            throw new TransferException("%s: mode is \"%s\"; needed: %s or %s"
                    .formatted(MooncakeStoreConnector.NAME, mode, EMBEDDED, STANDALONE));
        }
        String tenant = extra.text(TENANT, "").strip();
        if (!tenant.isEmpty() && !tenant.equals("default")) {
            throw new TransferException("%s: tenant_id is \"%s\"; this version speaks for the tenant \"default\" only"
                    .formatted(MooncakeStoreConnector.NAME, tenant));
        }
        long segment = size(all, SEGMENT, mode.equals(EMBEDDED) ? DEFAULT_SEGMENT_BYTES : 0);
        if ((segment > 0) != mode.equals(EMBEDDED)) {
            throw new TransferException("%s: %s is %d with mode %s; %s gives memory to the cluster, %s gives none"
                    .formatted(MooncakeStoreConnector.NAME, SEGMENT, segment, mode, EMBEDDED, STANDALONE));
        }
        String master = extra.text(MASTER)
                .orElseThrow(() -> new TransferException(
                        "%s needs %s, host:port of mooncake_master, in ".formatted(MooncakeStoreConnector.NAME, MASTER)
                                + "kv_connector_extra_config or in the file that %s names".formatted(CONFIG_PATH)));
        if (!master.matches("[^\\s:/]{1,255}:[0-9]{1,5}")) {
            throw new TransferException("%s: %s is \"%s\"; needed: host:port of mooncake_master"
                    .formatted(MooncakeStoreConnector.NAME, MASTER, master));
        }
        return new Cluster(
                master,
                word(extra, METADATA, "P2PHANDSHAKE"),
                word(extra, PROTOCOL, "tcp"),
                word(extra, DEVICE, ""),
                segment,
                size(all, BUFFER, DEFAULT_BUFFER_BYTES));
    }

    /// A text without what would end a word of a command or a key.
    private static String word(ExtraConfig extra, String key, String otherwise) {
        String text = extra.text(key, otherwise);
        if (text.chars().anyMatch(c -> c < ' ' || c == 127)) {
            throw new TransferException("%s: %s has control characters".formatted(MooncakeStoreConnector.NAME, key));
        }
        return text;
    }

    /// Bytes, or a text like `4GB` as vLLM reads it.
    private static long size(Map<String, Object> all, String key, long otherwise) {
        Object value = all.getOrDefault(key, otherwise);
        Matcher matcher = SIZE.matcher(String.valueOf(value).toLowerCase(java.util.Locale.ROOT));
        if (matcher.matches()) {
            String unit = matcher.group(2) == null ? "b" : matcher.group(2);
            double bytes = Double.parseDouble(matcher.group(1))
                    * switch (unit) {
                        case "gb" -> 1L << 30;
                        case "mb" -> 1L << 20;
                        case "kb" -> 1L << 10;
                        default -> 1L;
                    };
            if (bytes <= MAX_BYTES) {
                return (long) bytes;
            }
        }
        throw new TransferException(
                "%s: %s is %s; needed: bytes, or a text like 4GB".formatted(MooncakeStoreConnector.NAME, key, value));
    }

    /// vLLM's name of a model in keys.
    private static String lastPart(String modelId) {
        String path = modelId.replaceAll("/+$", "");
        return path.substring(path.lastIndexOf('/') + 1);
    }

    /// Host of the master.
    String masterHost() {
        String master = cluster.masterAddress();
        return master.substring(0, master.lastIndexOf(':'));
    }
}
