package dev.baton.transfer.lmcache;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.Cluster;
import dev.baton.transfer.mooncakestore.MooncakeAccess;
import dev.baton.transfer.mooncakestore.MooncakeValues;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/// Settings of the tier in a Mooncake cluster: `extra_config` of LMCache's settings, or in place of the cluster's
/// keys there the file that `MOONCAKE_CONFIG_PATH` names.
///
/// A key of the cluster has its own name or `mooncake_` before it, which wins, as with LMCache. Mooncake's own
/// `master_server_addr` and `rdma_devices` are what LMCache 0.5 needs to reach a Mooncake of today. Immutable,
/// thread-safe.
///
/// @param hasHeads `save_chunk_meta`: whether a value has the chunk's head before its bytes
/// @param warnings one sentence each, for the log
record MooncakeTierOptions(MooncakeAccess access, boolean hasHeads, List<String> warnings) {
    /// LMCache's map of further settings.
    static final String EXTRA_CONFIG = "extra_config";

    private static final String PREFIX = "mooncake_";
    private static final String HOST = "local_hostname";
    private static final String HEADS = "save_chunk_meta";
    /// The names that keys are given by, and what they mean; of two for the same, the later wins.
    private static final Map<String, String> NAMES = names();
    /// LMCache's default of `global_segment_size`.
    private static final long SEGMENT_BYTES = 3_355_443_200L;

    private static Map<String, String> names() {
        Map<String, String> names = new LinkedHashMap<>();
        Cluster.KEYS.stream().filter(key -> !key.equals(Cluster.TENANT)).forEach(key -> names.put(key, key));
        names.put(HOST, HOST);
        Cluster.KEYS.forEach(key -> names.put(PREFIX + key, key));
        names.put(PREFIX + HOST, HOST);
        names.put(PREFIX + "master_server_addr", Cluster.MASTER); // Mooncake's own
        names.put(PREFIX + "rdma_devices", Cluster.DEVICE);
        return Collections.unmodifiableMap(names);
    }

    /// Reads them.
    ///
    /// @param timeout bound of each call
    /// @return empty if `remote_url` names no such store
    /// @throws TransferException if a value makes no sense
    static Optional<MooncakeTierOptions> of(
            LmCacheSettings settings, KvTransferConfig config, Duration timeout, Map<String, String> environment) {
        Optional<String> url = settings.text("remote_url").filter(it -> it.startsWith(MooncakeTier.SCHEME));
        if (url.isEmpty()) {
            return Optional.empty();
        }
        Map<String, Object> extra = new HashMap<>(settings.map(EXTRA_CONFIG));
        Object heads = Optional.ofNullable(extra.remove(HEADS)).orElse(true);
        if (!(heads instanceof Boolean hasHeads)) {
            throw new TransferException("%s: %s is %s (%s); needed: true or false"
                    .formatted(EXTRA_CONFIG, HEADS, heads, settings.origin(EXTRA_CONFIG)));
        }
        List<String> warnings = new ArrayList<>();
        Optional<Map<String, Object>> file = MooncakeAccess.file(environment);
        if (file.isPresent() && !extra.isEmpty()) {
            warnings.add("%s is set, so nothing reads %s of %s here"
                    .formatted(
                            MooncakeAccess.CONFIG_PATH,
                            String.join(", ", new TreeSet<>(extra.keySet())),
                            EXTRA_CONFIG));
        }
        String where = file.isPresent() ? MooncakeAccess.CONFIG_PATH : EXTRA_CONFIG;
        Map<String, Object> cluster = clusterKeys(where, file.orElse(extra), warnings);
        nameMaster(url.get(), cluster, warnings);
        return Optional.of(new MooncakeTierOptions(
                new MooncakeAccess(
                        Cluster.of(where, cluster, SEGMENT_BYTES),
                        Cluster.word(where, cluster, HOST, config.ip()),
                        MooncakeAccess.home(settings.extraText(MooncakeAccess.HOME), environment),
                        settings.extraInteger(
                                MooncakeAccess.METRICS_PORT, MooncakeAccess.DEFAULT_METRICS_PORT, 1, 0xffff),
                        MooncakeAccess.DEFAULT_START_TIMEOUT,
                        timeout,
                        settings.extraFlag(Exposure.TRUSTED_NETWORK)),
                hasHeads,
                List.copyOf(warnings)));
    }

    /// What is said of the cluster, by the names of [Cluster#KEYS] and `local_hostname`.
    private static Map<String, Object> clusterKeys(String where, Map<String, Object> given, List<String> warnings) {
        Map<String, Object> cluster = new HashMap<>();
        Set<String> unread = new TreeSet<>(given.keySet());
        unread.removeIf(key -> given.get(key) == null); // not set, for LMCache
        NAMES.forEach((name, key) -> {
            if (unread.remove(name)) {
                cluster.put(key, given.get(name));
            }
        });
        if (!unread.isEmpty()) {
            warnings.add("%s: nothing reads %s here".formatted(where, String.join(", ", unread)));
        }
        return cluster;
    }

    /// LMCache never looks at the address in the URL; here it is the master's if nothing else names that.
    private static void nameMaster(String url, Map<String, Object> cluster, List<String> warnings) {
        Object master = cluster.get(Cluster.MASTER);
        String address = url.substring(MooncakeTier.SCHEME.length()).replaceFirst("/.*", "");
        if (master == null) {
            cluster.put(Cluster.MASTER, ServerAddress.parse(url, 0).toString());
        } else if (!master.equals(address)) {
            warnings.add("the master is %s, and not %s of remote_url, at which LMCache does not look either"
                    .formatted(master, address));
        }
    }

    /// Joins the cluster.
    ///
    /// @param role whether chunks will be saved
    /// @param chunkBytes of the longest chunk
    /// @throws TransferException if nothing on this machine can do that, or it would listen beyond this machine
    MooncakeTier open(KvRole role, long chunkBytes) {
        MooncakeValues values = MooncakeValues.connect(
                LmCacheConnector.NAME,
                access,
                role != KvRole.KV_CONSUMER,
                Limits.TIER_THREADS,
                chunkBytes + ChunkHead.BYTES);
        return new MooncakeTier(values, access.cluster().masterAddress(), hasHeads);
    }
}
