package dev.baton.model.decoder;

import dev.baton.model.Weights;
import dev.baton.tensor.cpu.CpuOps;
import dev.baton.tensor.cpu.Matrix;
import dev.baton.tensor.cpu.PackedMatrix;
import java.lang.foreign.SegmentAllocator;

/// A linear layer, or several that read the same input packed into one: their outputs lie side by side.
///
/// @param weights `(outputs, inputs)`
/// @param bias `(outputs)`, or empty
record Projection(PackedMatrix weights, float[] bias) {
    /// One linear layer of a checkpoint.
    ///
    /// @param name without `.weight` and `.bias`
    record Part(String name, int outputs) {}

    /// Reads and packs `NAME.weight` and, where there is one, `NAME.bias` of every part.
    static Projection load(
            Weights source, CpuOps ops, SegmentAllocator memory, boolean hasBias, int inputs, Part... parts) {
        Matrix[] matrices = new Matrix[parts.length];
        int outputs = 0;
        for (int i = 0; i < parts.length; i++) {
            matrices[i] = source.tensor(parts[i].name + ".weight", parts[i].outputs, inputs)
                    .matrix();
            outputs += parts[i].outputs;
        }
        float[] bias = new float[hasBias ? outputs : 0];
        int from = 0;
        for (int i = 0; i < parts.length && hasBias; i++) {
            float[] values =
                    source.tensor(parts[i].name + ".bias", parts[i].outputs).toFloats();
            System.arraycopy(values, 0, bias, from, values.length);
            from += values.length;
        }
        return new Projection(ops.pack(memory, matrices), bias);
    }

    /// `(rows, inputs)` to `(rows, outputs)`.
    void apply(CpuOps ops, float[] input, int rows, float[] output) {
        ops.matmul(input, rows, weights, output);
        if (bias.length > 0) {
            ops.addBias(output, rows, weights.outputs(), bias);
        }
    }
}
