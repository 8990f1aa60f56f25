package dev.baton.cli;

import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about the KV cache.
@Command
final class CacheOptions {
    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens a KV block (default: ${DEFAULT-VALUE}).")
    int blockSize;

    @Option(
            names = "--kv-cache-memory-bytes",
            paramLabel = "BYTES",
            defaultValue = "256MiB",
            converter = HumanReadableInt.class,
            description = "Memory of the KV cache (default: ${DEFAULT-VALUE}).")
    long kvCacheMemoryBytes;

    @Option(
            names = "--num-gpu-blocks-override",
            paramLabel = "BLOCKS",
            description = "KV blocks in the pool; wins over --kv-cache-memory-bytes.")
    @Nullable
    Integer numBlocksOverride;

    @Option(
            names = "--enable-prefix-caching",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description = "Whether prompts that begin alike share their KV blocks (default: on).")
    boolean enablePrefixCaching;
}
