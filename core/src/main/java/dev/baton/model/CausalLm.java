package dev.baton.model;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.util.Map;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;

/// A causal language model: maps a batch of tokens to logits and keeps its keys and values in a paged KV cache.
///
/// Used from one thread, the engine's. A row's result depends on its own sequence alone: the same token at the
/// same position over the same keys and values gives the same bits, whatever else is in the batch, however the
/// prompt is cut into chunks, and whatever the block size is.
public interface CausalLm extends AutoCloseable {
    ModelConfig config();

    /// Runs one step: writes the keys and values of every token of the batch into `kv`, and the logits of the
    /// rows that the batch asks for into `logits`.
    ///
    /// @param batch the tokens of this step
    /// @param kv the paged KV cache, with this model's geometry
    /// @param logits receives `(batch.numLogits, vocabSize)`, row after row
    void forward(ForwardBatch batch, PagedKv kv, float[] logits);

    /// Says who is told, on the thread that makes steps, that one has written the keys and values of all its
    /// tokens in the layers up to one; it must return at once. A model tells of each layer early, or of none.
    ///
    /// @param isWanted asked once a step, where to know costs something
    default void onLayerWritten(IntConsumer listener, BooleanSupplier isWanted) {}

    /// Makes the memory of a KV cache with this model's geometry where the model computes. The caller closes
    /// it, before the model.
    default PagedKv allocateKv(int numBlocks, int blockTokens, DType dtype) {
        ModelConfig shape = config();
        return new PagedKv(numBlocks, shape.numLayers(), shape.numKvHeads(), blockTokens, shape.headDim(), dtype);
    }

    /// As [#allocateKv], in memory that other processes of this host can map if it is the host's and the operating
    /// system has such memory.
    default PagedKv allocateSharedKv(int numBlocks, int blockTokens, DType dtype) {
        if (deviceSteps().isPresent()) {
            return allocateKv(numBlocks, blockTokens, dtype);
        }
        ModelConfig shape = config();
        return PagedKv.shared(numBlocks, shape.numLayers(), shape.numKvHeads(), blockTokens, shape.headDim(), dtype);
    }

    /// The same steps with the logits left where the model computes; empty if that is the host's memory.
    default Optional<DeviceSteps> deviceSteps() {
        return Optional.empty();
    }

    /// What must be equal on two instances that exchange KV blocks, beyond the shape of the blocks: field name to
    /// value, for example `rope_theta` and `weights_digest`. Stable across processes.
    Map<String, String> fingerprint();

    /// Which path computes and why, for the start banner, for example `cpu, scalar (as asked), 2 threads`.
    String backend();

    @Override
    void close();
}
