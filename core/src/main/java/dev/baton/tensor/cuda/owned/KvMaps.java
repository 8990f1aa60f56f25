package dev.baton.tensor.cuda.owned;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The layers of a paged KV cache of bf16 as the tensor memory accelerator of a GPU sees them: tensors of elements of a
/// head, tokens of a block, heads (of keys, then of values) and blocks, in that order from the innermost on.
///
/// Immutable, so safe to share until it is closed, which leaves the pool alone.
public final class KvMaps implements AutoCloseable {
    private final PagedKv pool;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment maps; // (layers) CUtensorMap

    /// @param pool in the memory of this context's device
    /// @param boxElements elements of a head in a box
    /// @param boxTokens most tokens in one
    /// @throws TensorException if the device cannot
    public KvMaps(Context context, PagedKv pool, int boxElements, int boxTokens) {
        if (pool.dtype() != DType.BF16) {
            throw new TensorException("a tensor map is of bfloat16, and the pool of "
                    + pool.dtype().torchName());
        }
        this.pool = pool;
        int layers = pool.layers();
        this.maps = arena.allocate((long) layers * Cuda.TENSOR_MAP_BYTES, Cuda.TENSOR_MAP_BYTES);
        long rowBytes = (long) pool.headDim() * DType.BF16.bytes();
        long[] sizes = {pool.headDim(), pool.blockTokens(), 2L * pool.kvHeads(), pool.numBlocks()};
        long[] strides = {rowBytes, rowBytes * pool.blockTokens(), pool.blockBytes()};
        int[] box = {boxElements, Math.min(boxTokens, pool.blockTokens()), 1, 1};
        try {
            for (int layer = 0; layer < layers; layer++) {
                context.cuda()
                        .encodeTensorMap(
                                map(layer),
                                pool.deviceAddress() + pool.keyOffsetBytes(0, layer, 0),
                                sizes,
                                strides,
                                box);
            }
        } catch (TensorException e) {
            arena.close();
            throw e;
        }
    }

    /// Whether these are the maps of a pool.
    public boolean areOf(PagedKv other) {
        return pool == other;
    }

    /// A `CUtensorMap`; not to be used after [#close].
    public MemorySegment map(int layer) {
        return maps.asSlice((long) layer * Cuda.TENSOR_MAP_BYTES, Cuda.TENSOR_MAP_BYTES);
    }

    @Override
    public void close() {
        arena.close();
    }
}
