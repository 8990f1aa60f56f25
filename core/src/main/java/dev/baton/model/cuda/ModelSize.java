package dev.baton.model.cuda;

import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.cuda.CudaSampler;
import dev.baton.tensor.cuda.checked.Cuda;
import java.util.Locale;

/// What a model takes of a GPU's memory, and what it leaves.
///
/// @param weightsBytes of all tensors in bf16
/// @param bufferBytes of what a step's activations and logits lie in
public record ModelSize(long weightsBytes, long bufferBytes) {
    private static final double GIB = 1L << 30;

    /// What the driver and the CUDA libraries take for kernels and workspaces, a few hundred MB.
    private static final long MOST_LIBRARY_BYTES = 1L << 30;

    private static final long RESERVED_BYTES = 512L << 20;

    /// What a model needs with these options, of each GPU.
    static ModelSize of(ModelConfig whole, DecoderSpec spec, CudaOptions options) {
        Shard shard = new Shard(0, options.tensorParallelSize());
        ModelConfig config = shard.of(whole);
        Span head = shard.logits(whole);
        long hidden = config.hiddenSize();
        long intermediate = config.intermediateSize();
        long queries = (long) config.numHeads() * config.headDim();
        long qkv = queries + 2L * config.numKvHeads() * config.headDim();
        long layer = qkv * hidden + queries * hidden + 3 * intermediate * hidden + 2 * hidden;
        layer += spec.queryKeyValueBias() ? qkv : 0;
        layer += spec.attentionOutBias() ? hidden : 0;
        layer += spec.mlpBias() ? 2 * intermediate + hidden : 0;
        layer += spec.queryKeyNorm() ? 2L * config.headDim() : 0;
        long embedding = (config.vocabSize() + (config.tieWordEmbeddings() ? 0 : head.count())) * hidden;
        long rows = BatchSizes.rows(options.maxNumBatchedTokens());
        long row = (options.tensorParallelSize() > 1 ? 3 : 2) * hidden
                + qkv
                + Math.max(queries, hidden)
                + 3 * intermediate;
        long logits = (long) BatchSizes.rows(options.maxNumSeqs()) * config.vocabSize() * Float.BYTES;
        logits *= head.isWhole() ? 1 : 2;
        logits += CudaSampler.bytes(options.maxNumSeqs(), config.vocabSize());
        return new ModelSize(
                (config.numLayers() * layer + embedding + hidden) * Short.BYTES,
                rows * row * Short.BYTES + logits + (long) options.maxModelLen() * config.headDim() * Float.BYTES);
    }

    /// Looks whether the memory is there.
    ///
    /// @throws ModelException saying how much is needed, how much there is, and which flags help
    void requireRoom(Cuda.MemoryInfo memory) {
        if (weightsBytes + bufferBytes > memory.freeBytes()) {
            throw new ModelException(String.format(
                    Locale.ROOT,
                    "the model does not fit into the GPU's memory: its weights need %.2f GiB and the buffers of a step"
                            + " %.2f GiB, of %.2f GiB there are %.2f GiB free; take another GPU (CUDA_VISIBLE_DEVICES), a"
                            + " smaller model, or fewer --max-num-batched-tokens and --max-num-seqs",
                    weightsBytes / GIB,
                    bufferBytes / GIB,
                    memory.totalBytes() / GIB,
                    memory.freeBytes() / GIB));
        }
    }

    /// How many KV blocks this process may have beside what is loaded. Other processes may take memory meanwhile:
    /// what went that this one cannot have taken is theirs.
    ///
    /// @param before memory before anything was loaded
    /// @param memory as it is once the model is loaded
    /// @param allocatedBytes what this process has asked for itself
    /// @param utilization share of the device's whole memory that this process may have, from 0 to 1
    /// @param blockBytes one block's size
    /// @param blocksNeeded what the longest request takes
    /// @throws ModelException if that is not there: saying how much is needed, how much there is, and which
    ///     flags help
    static int kvBlocks(
            Cuda.MemoryInfo before,
            Cuda.MemoryInfo memory,
            long allocatedBytes,
            double utilization,
            long blockBytes,
            int blocksNeeded) {
        long share = (long) (memory.totalBytes() * utilization);
        if (before.freeBytes() + MOST_LIBRARY_BYTES < share) { // the driver had taken some for this process by then
            throw new ModelException(String.format(
                    Locale.ROOT,
                    "this process may have %.0f %% of the GPU's %.2f GiB, and of these %.2f GiB only %.2f GiB were free"
                            + " when it began; lower --gpu-memory-utilization, say how large the cache is"
                            + " (--kv-cache-memory-bytes), or end other processes on this GPU",
                    utilization * 100,
                    memory.totalBytes() / GIB,
                    share / GIB,
                    before.freeBytes() / GIB));
        }
        long used = Math.clamp(
                before.freeBytes() - memory.freeBytes(), allocatedBytes, allocatedBytes + MOST_LIBRARY_BYTES);
        long left = Math.max(0, share - used);
        long available = Math.min(left, spare(memory));
        if (available / blockBytes < blocksNeeded) {
            throw new ModelException(String.format(
                    Locale.ROOT,
                    "the KV cache of one request of full length needs %.2f GiB of the GPU's memory, and %.2f GiB are"
                            + " left for it: %.0f %% of %.2f GiB, of which %.2f GiB are used; lower --max-model-len, or"
                            + " %s",
                    blocksNeeded * blockBytes / GIB,
                    available / GIB,
                    utilization * 100,
                    memory.totalBytes() / GIB,
                    used / GIB,
                    available < left ? "end other processes on this GPU" : "raise --gpu-memory-utilization"));
        }
        return (int) Math.min(available / blockBytes, Integer.MAX_VALUE);
    }

    /// Free memory but for what graphs, kernels and a prompt's log-probabilities take later.
    private static long spare(Cuda.MemoryInfo memory) {
        return Math.max(0, memory.freeBytes() - RESERVED_BYTES);
    }
}
