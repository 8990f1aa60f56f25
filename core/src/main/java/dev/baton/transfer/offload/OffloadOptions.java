package dev.baton.transfer.offload;

import dev.baton.transfer.ExtraConfig;
import dev.baton.transfer.TransferException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
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
    private static final Set<String> KEYS = Set.of(CPU_BYTES, EVICTION, TIERS, PROMPT_ONLY);
    private static final Set<String> TIER_KEYS =
            Set.of("type", "root_dir", "max_bytes", "n_read_threads", "n_write_threads");

    private static final long MAX_BYTES = 1_000_000_000_000_000L;
    private static final int MAX_THREADS = 256;

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
    static OffloadOptions from(Map<String, Object> settings) {
        ExtraConfig extra = new ExtraConfig(OffloadingConnector.NAME, settings, KEYS);
        if (!extra.truth(PROMPT_ONLY, true)) {
            throw new TransferException("kv_connector_extra_config: " + PROMPT_ONLY
                    + " false is not built: blocks of the output are not kept; leave the key out");
        }
        Optional<Files> files = files(settings.get(TIERS));
        if (!settings.containsKey(CPU_BYTES) && files.isEmpty()) {
            throw new TransferException("kv_connector_extra_config: OffloadingConnector needs " + CPU_BYTES
                    + ", the memory for blocks in bytes, or " + TIERS);
        }
        String policy = extra.text(EVICTION).orElse("lru");
        if (EvictionPolicy.of(policy, 1).isEmpty()) {
            throw new TransferException(
                    "kv_connector_extra_config: %s is \"%s\"; choose lru or arc".formatted(EVICTION, policy));
        }
        return new OffloadOptions(extra.count(CPU_BYTES, 0, MAX_BYTES, 0), policy, files);
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
        Map<String, Object> settings = new HashMap<>();
        tier.forEach((key, value) -> settings.put(key.toString(), value));
        ExtraConfig extra = new ExtraConfig("a tier of type fs", settings, TIER_KEYS);
        Path root = extra.text("root_dir")
                .map(Path::of)
                .orElseThrow(() -> new TransferException(
                        "kv_connector_extra_config: a tier of type fs needs root_dir, a directory"));
        return Optional.of(new Files(
                root,
                extra.count("max_bytes", 1, MAX_BYTES, Long.MAX_VALUE),
                (int) Math.min(MAX_THREADS, extra.count("n_read_threads", 1, MAX_BYTES, 4)),
                (int) Math.min(MAX_THREADS, extra.count("n_write_threads", 1, MAX_BYTES, 2))));
    }
}
