package dev.baton.model;

import dev.baton.tensor.DType;
import dev.baton.tensor.cpu.Matrix;
import java.lang.foreign.MemorySegment;

/// The named tensors of a checkpoint while a model is being built from them.
///
/// What it hands out is valid until [#close]. Used from one thread; the data may be read from several.
public interface Weights extends AutoCloseable {
    /// A tensor of exactly this shape.
    ///
    /// @throws ModelException if it is missing or has another shape: the message names both
    Tensor tensor(String name, int... shape);

    /// SHA-256 over the names, types, shapes and bytes of the tensors, in hexadecimal. Of a tensor larger than
    /// 4 MiB only the first and last 64 KiB go in, so that large checkpoints start quickly.
    String digest();

    @Override
    void close();

    /// One tensor.
    ///
    /// @param data the elements, little-endian, the last dimension side by side
    record Tensor(String name, DType dtype, int[] shape, MemorySegment data) {
        /// This tensor of two dimensions as a matrix.
        public Matrix matrix() {
            return new Matrix(data, dtype, shape[0], shape[1]);
        }

        /// All elements as floats.
        public float[] toFloats() {
            int count = 1;
            for (int dimension : shape) {
                count = Math.multiplyExact(count, dimension);
            }
            float[] floats = new float[count];
            new Matrix(data, dtype, 1, count).copyRow(0, floats, 0);
            return floats;
        }
    }
}
