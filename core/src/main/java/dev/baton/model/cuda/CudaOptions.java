package dev.baton.model.cuda;

import dev.baton.model.ModelException;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// What a model on a GPU is made ready for: its buffers have these sizes.
///
/// @param devices number among the visible ones of the GPU of each rank: several compute together; the same one
///     twice is for checks
/// @param maxModelLen longest prompt plus output, in tokens
/// @param maxNumSeqs most sequences in one step
/// @param maxNumBatchedTokens most tokens in one step
/// @param blockTokens tokens a KV block: a power of two from 16 to 128
/// @param environment of the process, where CUDA's libraries and the user's cache are looked up
/// @param customAllReduce whether GPUs that compute together add up small arrays by writing to each other's
///     memory, where they can, and not over NCCL
public record CudaOptions(
        List<Integer> devices,
        int maxModelLen,
        int maxNumSeqs,
        int maxNumBatchedTokens,
        int blockTokens,
        Map<String, String> environment,
        boolean customAllReduce) {
    private static final int MIN_BLOCK_TOKENS = 16;
    private static final int MAX_BLOCK_TOKENS = 128;
    private static final int MAX_SEQUENCES = 256;

    /// Of one GPU.
    public CudaOptions(
            int device,
            int maxModelLen,
            int maxNumSeqs,
            int maxNumBatchedTokens,
            int blockTokens,
            Map<String, String> environment) {
        this(List.of(device), maxModelLen, maxNumSeqs, maxNumBatchedTokens, blockTokens, environment, true);
    }

    /// The first so many GPUs.
    public static List<Integer> firstDevices(int count) {
        return IntStream.range(0, count).boxed().toList();
    }

    /// @throws ModelException naming the field that the kernels cannot do
    public CudaOptions {
        devices = List.copyOf(devices);
        environment = Map.copyOf(environment);
        if (devices.isEmpty()) {
            throw new ModelException("a model on GPUs needs at least one");
        }
        if (Integer.bitCount(blockTokens) != 1 || blockTokens < MIN_BLOCK_TOKENS || blockTokens > MAX_BLOCK_TOKENS) {
            throw new ModelException("blocks on a GPU have a power of two from " + MIN_BLOCK_TOKENS + " to "
                    + MAX_BLOCK_TOKENS + " tokens, not " + blockTokens + " (--block-size)");
        }
        if (maxNumSeqs > MAX_SEQUENCES) {
            throw new ModelException("a step on a GPU has at most " + MAX_SEQUENCES + " sequences, not " + maxNumSeqs
                    + " (--max-num-seqs)");
        }
    }

    /// The first rank's GPU.
    public int device() {
        return devices.getFirst();
    }

    /// Ranks that compute together.
    public int tensorParallelSize() {
        return devices.size();
    }

    /// Blocks of the longest sequence.
    int maxBlocks() {
        return Math.ceilDiv(maxModelLen, blockTokens);
    }
}
