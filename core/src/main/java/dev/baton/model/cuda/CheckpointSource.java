package dev.baton.model.cuda;

import dev.baton.model.Weights;
import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// The tensors of a checkpoint; those of another type are rounded to bf16.
final class CheckpointSource implements WeightSource {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Weights weights;
    private final Staging staging;

    /// @param weights not closed here
    /// @param staging closed with this
    CheckpointSource(Weights weights, Staging staging) {
        this.weights = weights;
        this.staging = staging;
    }

    @Override
    public void load(String name, long to, int... shape) {
        Weights.Tensor tensor = weights.tensor(name, shape);
        long count = tensor.data().byteSize() / tensor.dtype().bytes();
        staging.copy(to, count * DType.BF16.bytes(), (buffer, offset) -> fill(buffer, offset, tensor));
    }

    private static void fill(MemorySegment buffer, long offset, Weights.Tensor tensor) {
        MemorySegment data = tensor.data();
        if (tensor.dtype() == DType.BF16) {
            MemorySegment.copy(data, offset, buffer, 0, buffer.byteSize());
            return;
        }
        long first = offset / Short.BYTES;
        long count = buffer.byteSize() / Short.BYTES;
        for (long i = 0; i < count; i++) {
            float value = tensor.dtype() == DType.F32
                    ? data.get(FLOAT, (first + i) * Float.BYTES)
                    : Float.float16ToFloat(data.get(SHORT, (first + i) * Short.BYTES));
            buffer.set(SHORT, i * Short.BYTES, DType.floatToBf16(value));
        }
    }

    @Override
    public String digest() {
        return weights.digest();
    }

    @Override
    public void close() {
        staging.close();
    }
}
