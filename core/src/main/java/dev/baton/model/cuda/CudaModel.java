package dev.baton.model.cuda;

import dev.baton.model.CausalLm;
import dev.baton.model.DeviceSteps;
import dev.baton.model.ForwardBatch;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelException;
import dev.baton.model.Weights;
import dev.baton.model.decoder.DecoderSpec;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.cuda.owned.Context;
import java.util.Optional;

/// A model on one NVIDIA GPU, or on several of one host.
public sealed interface CudaModel extends CausalLm, DeviceSteps permits CudaDecoder, ParallelDecoder {
    /// How many KV blocks fit beside what is loaded.
    ///
    /// @param utilization share of a device's whole memory that this process may have, from 0 to 1
    /// @param blockBytes size of one block, or of one GPU's part of it
    /// @throws ModelException if not even the longest request fits
    int kvBlocks(double utilization, long blockBytes);

    /// Records the decode steps over a cache, which [#prepare] does among other things.
    void recordGraphs(PagedKv kv);

    /// One step that is waited for, and its logits.
    @Override
    default void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        launch(batch, kv, WarmUp.LIKELIEST);
        await();
        for (int row = 0; row < batch.numLogits(); row++) {
            copyRow(row, logits, row * config().vocabSize());
        }
    }

    @Override
    default Optional<DeviceSteps> deviceSteps() {
        return Optional.of(this);
    }

    /// Loads a checkpoint.
    ///
    /// @param weights may be closed afterwards
    /// @throws ModelException if the GPU's memory is too small
    /// @throws dev.baton.tensor.TensorException if there is no GPU or a library is missing, in one sentence
    static CudaModel load(ModelConfig config, DecoderSpec spec, Weights weights, CudaOptions options) {
        return load(config, spec, options, (_, staging) -> new CheckpointSource(weights, staging));
    }

    /// A model of random weights.
    ///
    /// @param seed what they are drawn from
    static CudaModel dummy(ModelConfig config, DecoderSpec spec, long seed, CudaOptions options) {
        return load(config, spec, options, (ops, staging) -> new DummySource(ops, staging, seed));
    }

    private static CudaModel load(
            ModelConfig config, DecoderSpec spec, CudaOptions options, CudaDecoder.Source source) {
        if (options.tensorParallelSize() > 1) {
            return ParallelDecoder.load(config, spec, options, source);
        }
        Context context = Context.open(options.device(), options.environment());
        return CudaDecoder.load(config, spec, options, Shard.WHOLE, context, null, source);
    }

    /// Key-value heads of which one GPU keeps keys and values, if so many compute together.
    ///
    /// @throws ModelException if the model cannot be divided so
    static int kvHeads(ModelConfig config, int tensorParallelSize) {
        checkDivides(config, tensorParallelSize);
        return new Shard(0, tensorParallelSize).kvHeads(config);
    }

    /// Looks whether a model can be divided among so many GPUs.
    ///
    /// @throws ModelException saying why it cannot
    static void checkDivides(ModelConfig config, int tensorParallelSize) {
        new Shard(0, tensorParallelSize).check(config);
    }
}
