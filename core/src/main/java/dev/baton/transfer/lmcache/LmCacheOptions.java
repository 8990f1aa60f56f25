package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/// Settings of the connector, under LMCache's names; see [LmCacheSettings] for where they come from.
///
/// @param chunkTokens `chunk_size`
/// @param localCpuBytes memory for chunks: `max_local_cpu_size` (GiB), 0 unless `local_cpu`
/// @param localDisk `local_disk`: folder for chunks
/// @param localDiskBytes `max_local_disk_size` (GiB)
/// @param remoteUrl `remote_url`: a store that others share
/// @param saveDecodeCache `save_decode_cache`: chunks of the output are saved, too
/// @param saveUnfullChunk `save_unfull_chunk`: a prompt's last chunk is saved and loaded even if it is not full
/// @param minRetrieveTokens `min_retrieve_tokens`: fewer are not loaded
/// @param skipLastTokens `skip_last_n_tokens`: tokens at a prompt's end that are never loaded
/// @param blockingTimeout `blocking_timeout_secs`: bound of each wait for a store, of a whole load, and of how
///     long a finished request's blocks are kept to be saved
/// @param hasher `pre_caching_hash_algorithm` with `PYTHONHASHSEED`
/// @param modelName the model's name in keys: `model_name`, else the name that this instance serves
record LmCacheOptions(
        int chunkTokens,
        long localCpuBytes,
        Optional<Path> localDisk,
        long localDiskBytes,
        Optional<String> remoteUrl,
        boolean saveDecodeCache,
        boolean saveUnfullChunk,
        int minRetrieveTokens,
        int skipLastTokens,
        Duration blockingTimeout,
        ChunkHasher hasher,
        String modelName) {

    /// Keys that are read.
    static final List<String> KEYS = List.of(
            "chunk_size",
            "local_cpu",
            "max_local_cpu_size",
            "local_disk",
            "max_local_disk_size",
            "remote_url",
            "remote_serde",
            "save_decode_cache",
            "save_unfull_chunk",
            "min_retrieve_tokens",
            "blocking_timeout_secs",
            "pre_caching_hash_algorithm",
            "cache_policy",
            MooncakeTierOptions.EXTRA_CONFIG);

    private static final int MAX_CHUNK_TOKENS = 1 << 20;
    private static final double MAX_GIB = 1 << 20;
    private static final int MAX_SECONDS = 86_400;

    /// @param modelId the name that this instance serves
    /// @param hashSeed `PYTHONHASHSEED`
    /// @throws TransferException if a value makes no sense, or asks for what is not there
    static LmCacheOptions of(LmCacheSettings settings, String modelId, Optional<String> hashSeed) {
        refuseOthers(settings);
        Optional<Path> disk = settings.text("local_disk").map(LmCacheOptions::folder);
        long diskBytes = gib(settings, "max_local_disk_size", 0);
        if (disk.isPresent() && diskBytes == 0) {
            throw new TransferException(
                    "local_disk is set, but max_local_disk_size is 0: give the GiB that it may take");
        }
        return new LmCacheOptions(
                settings.integer("chunk_size", 256, 1, MAX_CHUNK_TOKENS),
                settings.flag("local_cpu", true) ? gib(settings, "max_local_cpu_size", 5) : 0,
                disk,
                diskBytes,
                settings.text("remote_url"),
                settings.flag("save_decode_cache", false),
                PdOptions.isEnabled(settings) // a decoder needs the whole prompt
                        || (settings.flag("save_unfull_chunk", false) && !settings.extraFlag("discard_partial_chunks")),
                settings.integer("min_retrieve_tokens", 0, 0, Integer.MAX_VALUE),
                settings.extraInteger("skip_last_n_tokens", 0, 0, Integer.MAX_VALUE),
                seconds(settings),
                hasher(settings.text("pre_caching_hash_algorithm").orElse("builtin"), hashSeed),
                settings.extraText("model_name").orElse(modelId));
    }

    /// What would change which bytes are stored or where, and is not in this version, is refused: to go on without
    /// it would look like a cache that never hits.
    private static void refuseOthers(LmCacheSettings settings) {
        for (String feature : LmCacheSettings.REFUSED_SWITCHES) {
            if (settings.flag(feature, false)) {
                throw new TransferException(
                        "%s is true (%s), but this version has only LMCache's chunk store; set it to false"
                                .formatted(feature, settings.origin(feature)));
            }
        }
        for (String place : LmCacheSettings.REFUSED_VALUES) {
            if (settings.text(place).isPresent()) {
                throw new TransferException("%s is set (%s), but is not in this version; leave it out"
                        .formatted(place, settings.origin(place)));
            }
        }
        require(settings, "remote_serde", "naive");
        require(settings, "cache_policy", "LRU");
    }

    private static void require(LmCacheSettings settings, String key, String only) {
        String value = settings.text(key).orElse(only);
        if (!value.equalsIgnoreCase(only)) {
            throw new TransferException("%s is \"%s\" (%s); this version has only \"%s\""
                    .formatted(key, value, settings.origin(key), only));
        }
    }

    private static Path folder(String text) {
        String path = text.startsWith("file://") ? text.substring("file://".length()) : text;
        if (path.isBlank() || path.contains(",")) {
            throw new TransferException("local_disk is \"%s\"; needed: one folder, as file:///folder/".formatted(text));
        }
        return Path.of(path);
    }

    private static long gib(LmCacheSettings settings, String key, double otherwise) {
        return (long) (settings.number(key, otherwise, 0, MAX_GIB) * (1L << 30));
    }

    private static Duration seconds(LmCacheSettings settings) {
        double seconds = settings.number("blocking_timeout_secs", 10, 0.001, MAX_SECONDS);
        return Duration.ofNanos(Math.round(seconds * 1e9));
    }

    private static ChunkHasher hasher(String algorithm, Optional<String> hashSeed) {
        return switch (algorithm) {
            case "sha256_cbor", "sha256_cbor_64bit" ->
                ChunkHasher.Sha256Cbor.seeded(hashSeed.orElse(ChunkHasher.NO_SEED));
            case "builtin" -> ChunkHasher.Builtin.seeded(seedNumber(hashSeed.orElse("0")));
            default ->
                throw new TransferException(
                        "pre_caching_hash_algorithm is \"%s\"; needed: builtin or sha256_cbor".formatted(algorithm));
        };
    }

    private static long seedNumber(String text) {
        try {
            long seed = Long.parseLong(text);
            if (seed >= 0 && seed <= PythonHash.MAX_SEED) {
                return seed;
            }
        } catch (NumberFormatException e) {
            // answered below, as a number out of range is
        }
        throw new TransferException(
                "PYTHONHASHSEED is \"%s\"; needed for pre_caching_hash_algorithm builtin: 0 to %d, equal for all engines"
                        .formatted(text, PythonHash.MAX_SEED));
    }
}
