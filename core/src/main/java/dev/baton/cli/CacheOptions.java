package dev.baton.cli;

import dev.baton.tensor.DType;
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
            names = "--kv-cache-dtype",
            paramLabel = "TYPE",
            defaultValue = "auto",
            description = "What keys and values are kept as: float32, bfloat16 or float16; auto: float32, what the"
                    + " CPU computes in. Both sides of a hand-off need the same.")
    String kvCacheDtype = "";

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

    /// What keys and values are kept as.
    ///
    /// @throws IllegalArgumentException if there is no such type
    DType kvCacheDtype() {
        if (kvCacheDtype.equals("auto")) {
            return DType.F32;
        }
        return DType.ofTorchName(kvCacheDtype)
                .orElseThrow(() -> new IllegalArgumentException(
                        "--kv-cache-dtype %s is not there: choose from auto, float32, bfloat16, float16."
                                .formatted(kvCacheDtype)));
    }
}
