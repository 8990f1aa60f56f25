package dev.baton.model.cuda;

import dev.baton.model.Weights;
import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

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
    public void load(String name, long to, Span... shape) {
        Weights.Tensor tensor =
                tensor(name, Arrays.stream(shape).mapToInt(Span::total).toArray());
        Span rows = shape[0];
        Span columns = shape.length == 1 ? Span.whole(1) : shape[1];
        long bytes = (long) rows.count() * columns.count() * Short.BYTES;
        staging.copy(to, bytes, (buffer, offset) -> fill(buffer, offset / Short.BYTES, tensor, rows, columns));
    }

    /// Several GPUs load at the same time, and weights are used from one thread.
    private Weights.Tensor tensor(String name, int... shape) {
        synchronized (weights) {
            return weights.tensor(name, shape);
        }
    }

    /// Fills with the elements from number `from` of a part on.
    private static void fill(MemorySegment buffer, long from, Weights.Tensor tensor, Span rows, Span columns) {
        long end = from + buffer.byteSize() / Short.BYTES;
        long element = from;
        while (element < end) {
            long row = rows.first() + element / columns.count();
            long column = element % columns.count();
            long run = columns.isWhole() ? end - element : Math.min(columns.count() - column, end - element);
            MemorySegment target = buffer.asSlice((element - from) * Short.BYTES, run * Short.BYTES);
            fill(target, row * columns.total() + columns.first() + column, tensor);
            element += run;
        }
    }

    /// Fills with the elements from number `first` of a tensor on.
    private static void fill(MemorySegment buffer, long first, Weights.Tensor tensor) {
        MemorySegment data = tensor.data();
        if (tensor.dtype() == DType.BF16) {
            MemorySegment.copy(data, first * Short.BYTES, buffer, 0, buffer.byteSize());
            return;
        }
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
        synchronized (weights) {
            return weights.digest();
        }
    }

    @Override
    public void close() {
        staging.close();
    }
}
