package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A matrix as a checkpoint stores it: row after row, little-endian, at any alignment.
///
/// A view: the memory is the caller's. Safe to read from several threads.
///
/// @param data at least `rows * columns` elements
public record Matrix(MemorySegment data, DType dtype, int rows, int columns) {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(java.nio.ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(java.nio.ByteOrder.LITTLE_ENDIAN);

    /// One element as a float; exact for every element type.
    public float get(int row, int column) {
        return switch (dtype) {
            case F32 -> data.get(FLOAT, offset(row, column));
            case F16 -> Float.float16ToFloat(bits16(row, column));
            case BF16 -> DType.bf16ToFloat(bits16(row, column));
        };
    }

    /// Copies one row as floats.
    public void copyRow(int row, float[] target, int from) {
        if (dtype == DType.F32) {
            MemorySegment.copy(data, FLOAT, offset(row, 0), target, from, columns);
            return;
        }
        for (int i = 0; i < columns; i++) {
            target[from + i] = get(row, i);
        }
    }

    short bits16(int row, int column) {
        return data.get(SHORT, offset(row, column));
    }

    private long offset(int row, int column) {
        return ((long) row * columns + column) * dtype.bytes();
    }
}
