package dev.baton.transfer.p2p;

import dev.baton.tensor.PagedKv;
import dev.baton.wire.Fields;
import java.net.ProtocolException;
import java.util.Arrays;

/// The shape and type of the tensors that are exchanged here, all but their number of blocks. Thread-safe.
final class TensorShape {
    private final long[] block; // (layers, 2, kvHeads, blockTokens, headDim)
    private final String dtype;
    private final int blockTokens;
    private final int maxBlocks;

    TensorShape(PagedKv pool) {
        block = new long[] {pool.layers(), 2, pool.kvHeads(), pool.blockTokens(), pool.headDim()};
        dtype = pool.dtype().torchName();
        blockTokens = pool.blockTokens();
        maxBlocks = pool.numBlocks();
    }

    /// Of that many blocks.
    long[] of(int numBlocks) {
        long[] shape = new long[block.length + 1];
        shape[0] = numBlocks;
        System.arraycopy(block, 0, shape, 1, block.length);
        return shape;
    }

    String dtype() {
        return dtype;
    }

    int blockTokens() {
        return blockTokens;
    }

    /// Checks what a message says of a tensor.
    ///
    /// @return its blocks
    /// @throws ProtocolException if it is none that could be used here
    int check(Fields message) throws ProtocolException {
        long[] shape = message.numbers("shape");
        if (shape.length != block.length + 1
                || !Arrays.equals(block, Arrays.copyOfRange(shape, 1, shape.length))
                || !message.text("dtype").equals(dtype)) {
            throw new ProtocolException("a tensor of shape %s and type %s; needed are %s (after the blocks) and %s"
                    .formatted(Arrays.toString(shape), message.text("dtype"), Arrays.toString(block), dtype));
        }
        if (shape[0] < 1 || shape[0] > maxBlocks) {
            throw new ProtocolException(
                    "a tensor of %d blocks; there is room for 1 to %d".formatted(shape[0], maxBlocks));
        }
        return (int) shape[0];
    }
}
