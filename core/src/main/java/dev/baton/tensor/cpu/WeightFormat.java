package dev.baton.tensor.cpu;

/// How a [PackedMatrix] stores its weights.
public enum WeightFormat {
    F32(4),

    /// Two weights of different columns side by side in a 32-bit word.
    BF16(2),

    /// Integers, and one f32 scale a column.
    INT8(1);

    private final int bytes;

    WeightFormat(int bytes) {
        this.bytes = bytes;
    }

    /// Bytes of one weight.
    int bytes() {
        return bytes;
    }
}
