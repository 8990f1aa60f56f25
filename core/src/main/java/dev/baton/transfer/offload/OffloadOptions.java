package dev.baton.transfer.offload;

import dev.baton.transfer.TransferException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// Settings of the offloading connector, from `kv_connector_extra_config`, by vLLM's keys.
///
/// @param cpuBytes `cpu_bytes_to_use`: memory for blocks
/// @param evictionPolicy `eviction_policy`: `lru` or `arc`
/// @param files the tier of files, if `secondary_tiers` has one
record OffloadOptions(long cpuBytes, String evictionPolicy, Optional<Files> files) {
    private static final String CPU_BYTES = "cpu_bytes_to_use";
    private static final String EVICTION = "eviction_policy";
    private static final String TIERS = "secondary_tiers";
    private static final String PROMPT_ONLY = "offload_prompt_only";
    private static final Set<String> KEYS = new TreeSet<>(Set.of(CPU_BYTES, EVICTION, TIERS, PROMPT_ONLY));
    private static final Set<String> TIER_KEYS =
            new TreeSet<>(Set.of("type", "root_dir", "max_bytes", "n_read_threads", "n_write_threads"));

    /// A tier of files.
    ///
    /// @param root `root_dir`
    /// @param maxBytes `max_bytes`: what the files may take; no limit if it is [Long#MAX_VALUE]. Not a key of
    ///     vLLM's
    /// @param readThreads `n_read_threads`
    /// @param writeThreads `n_write_threads`
    record Files(Path root, long maxBytes, int readThreads, int writeThreads) {}

    /// Reads the settings.
    ///
    /// @throws TransferException if a key is unknown, missing or out of range
    static OffloadOptions from(Map<String, Object> extra) {
        check("kv_connector_extra_config: OffloadingConnector", extra, KEYS);
        if (Boolean.FALSE.equals(extra.get(PROMPT_ONLY))) {
            throw new TransferException("kv_connector_extra_config: " + PROMPT_ONLY
                    + " false is not built: blocks of the output are not kept; leave the key out");
        }
        Optional<Files> files = files(extra.get(TIERS));
        Object bytes = extra.get(CPU_BYTES);
        if (bytes == null && files.isEmpty()) {
            throw new TransferException("kv_connector_extra_config: OffloadingConnector needs " + CPU_BYTES
                    + ", the memory for blocks in bytes, or " + TIERS);
        }
        Object policy = extra.getOrDefault(EVICTION, "lru");
        if (EvictionPolicy.of(policy.toString(), 1).isEmpty()) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is \"%s\"; choose lru or arc".formatted(EVICTION, policy));
        }
        return new OffloadOptions(bytes == null ? 0 : number(CPU_BYTES, bytes, 0), policy.toString(), files);
    }

    private static Optional<Files> files(@Nullable Object tiers) {
        if (tiers == null || (tiers instanceof List<?> none && none.isEmpty())) {
            return Optional.empty();
        }
        if (!(tiers instanceof List<?> list)
                || list.size() != 1
                || !(list.getFirst() instanceof Map<?, ?> tier)
                || !"fs".equals(tier.get("type"))) {
            throw new TransferException("kv_connector_extra_config: " + TIERS
                    + " may have one tier, [{\"type\": \"fs\", \"root_dir\": DIR}]; others are not built");
        }
        check("kv_connector_extra_config: a tier of type fs", tier, TIER_KEYS);
        if (!(tier.get("root_dir") instanceof String root) || root.isBlank()) {
            throw new TransferException("kv_connector_extra_config: a tier of type fs needs root_dir, a directory");
        }
        return Optional.of(new Files(
                Path.of(root),
                value(tier, "max_bytes", Long.MAX_VALUE),
                (int) Math.min(256, value(tier, "n_read_threads", 4)),
                (int) Math.min(256, value(tier, "n_write_threads", 2))));
    }

    private static long value(Map<?, ?> tier, String key, long otherwise) {
        Object value = tier.get(key);
        return value == null ? otherwise : number(key, value, 1);
    }

    private static void check(String who, Map<?, ?> given, Set<String> known) {
        for (Object key : given.keySet()) {
            if (!known.contains(key.toString())) {
                throw new TransferException("%s has no \"%s\"; it has %s".formatted(who, key, known));
            }
        }
    }

    /// As vLLM does, also from text such as `"1e9"`.
    private static long number(String key, Object value, long least) {
        try {
            double number = Double.parseDouble(value.toString());
            if (number >= least && number <= 1e15 && number == Math.rint(number)) {
                return (long) number;
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new TransferException("kv_connector_extra_config: %s must be a whole number of at least %d, got %s"
                .formatted(key, least, value));
    }
}
