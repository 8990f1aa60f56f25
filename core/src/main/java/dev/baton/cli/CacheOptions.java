package dev.baton.cli;

import dev.baton.tensor.DType;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about the KV cache.
@Command
final class CacheOptions {
    private static final long DEFAULT_HOST_BYTES = 256L << 20;

    static final String GPU_MEMORY_UTILIZATION = "--gpu-memory-utilization";

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens a KV block (default: ${DEFAULT-VALUE}).")
    int blockSize;

    @Option(
            names = "--kv-cache-memory-bytes",
            paramLabel = "BYTES",
            converter = HumanReadableInt.class,
            description = "Memory of the KV cache (default: 256MiB on the CPU; on a GPU what --gpu-memory-utilization"
                    + " leaves).")
    @Nullable
    Long kvCacheMemoryBytes;

    @Option(
            names = GPU_MEMORY_UTILIZATION,
            paramLabel = "SHARE",
            defaultValue = "0.9",
            description =
                    "Share of a GPU's memory that weights, buffers and KV cache of this process have together; the CPU does not"
                            + " ask for it (default: ${DEFAULT-VALUE}).")
    double gpuMemoryUtilization;

    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "TYPE",
            defaultValue = "auto",
            description =
                    "What keys and values are kept as: float32, bfloat16 or float16 on the CPU, bfloat16 on a GPU;"
                            + " auto: what the device computes in. Both sides of a hand-off need the same.")
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
    /// @param computed what the device computes in
    /// @throws IllegalArgumentException if there is no such type
    DType kvCacheDtype(DType computed) {
        if (kvCacheDtype.equals("auto")) {
            return computed;
        }
        DType asked = DType.ofTorchName(kvCacheDtype)
                .orElseThrow(() -> new IllegalArgumentException(
                        "--kv-cache-dtype %s is not there: choose from auto, float32, bfloat16, float16."
                                .formatted(kvCacheDtype)));
        if (computed == DType.BF16 && asked != DType.BF16) {
            throw new IllegalArgumentException(
                    "--kv-cache-dtype %s is not there on a GPU: choose from auto, bfloat16.".formatted(kvCacheDtype));
        }
        return asked;
    }

    /// Memory of the KV cache on the CPU.
    long hostBytes() {
        return kvCacheMemoryBytes == null ? DEFAULT_HOST_BYTES : kvCacheMemoryBytes;
    }
}
