package dev.baton.model.cuda;

import dev.baton.model.ModelException;
import java.util.Map;

/// What a model on a GPU is made ready for: its buffers have these sizes.
///
/// @param device number of the GPU among the visible ones
/// @param maxModelLen longest prompt plus output, in tokens
/// @param maxNumSeqs most sequences in one step
/// @param maxNumBatchedTokens most tokens in one step
/// @param blockTokens tokens a KV block: a power of two from 16 to 128
/// @param environment of the process, where CUDA's libraries and the user's cache are looked up
/// @param tensorParallelSize GPUs that compute together, `device` and those after it
public record CudaOptions(
        int device,
        int maxModelLen,
        int maxNumSeqs,
        int maxNumBatchedTokens,
        int blockTokens,
        Map<String, String> environment,
        int tensorParallelSize) {
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
        this(device, maxModelLen, maxNumSeqs, maxNumBatchedTokens, blockTokens, environment, 1);
    }

    /// @throws ModelException naming the field that the kernels cannot do
    public CudaOptions {
        environment = Map.copyOf(environment);
        if (Integer.bitCount(blockTokens) != 1 || blockTokens < MIN_BLOCK_TOKENS || blockTokens > MAX_BLOCK_TOKENS) {
            throw new ModelException("blocks on a GPU have a power of two from " + MIN_BLOCK_TOKENS + " to "
                    + MAX_BLOCK_TOKENS + " tokens, not " + blockTokens + " (--block-size)");
        }
        if (maxNumSeqs > MAX_SEQUENCES) {
            throw new ModelException("a step on a GPU has at most " + MAX_SEQUENCES + " sequences, not " + maxNumSeqs
                    + " (--max-num-seqs)");
        }
    }

    /// Blocks of the longest sequence.
    int maxBlocks() {
        return Math.ceilDiv(maxModelLen, blockTokens);
    }
}
