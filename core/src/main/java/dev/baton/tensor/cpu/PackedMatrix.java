package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import dev.baton.tensor.TensorException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A weight matrix `(outputs, inputs)` in the order in which a matrix product reads it: panels of [#panelColumns()]
/// outputs, in each the values of input 0, then of input 1, and so on. The last panel is filled up with zeros.
///
/// Stored as f32, or as bf16 where the checkpoint is bf16 (half the bytes to read, and expanding is exact, so
/// the results are the same). A bf16 panel keeps two outputs in one 32-bit word: of the columns `c` and `c +
/// lanes`, the first in the low half. One shift and one mask then give two vectors of floats.
///
/// Immutable once packed; the memory belongs to the arena that was passed in.
public final class PackedMatrix {
    /// Vectors side by side in a panel: with four rows they make sixteen independent sums, which hides the
    /// latency of a multiply-add.
    static final int PANEL_VECTORS = 4;

    private static final long ALIGNMENT_BYTES = 64;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private final int outputs;
    private final int inputs;
    private final int lanes;
    private final DType dtype;
    private final MemorySegment data; // (panels, inputs, panelColumns)

    private PackedMatrix(int outputs, int inputs, int lanes, DType dtype, Arena arena) {
        this.outputs = outputs;
        this.inputs = inputs;
        this.lanes = lanes;
        this.dtype = dtype;
        this.data = arena.allocate(panels() * panelBytes(), ALIGNMENT_BYTES);
    }

    /// Packs one or several matrices, one below the other: the product then gives their outputs side by side.
    ///
    /// @param parts with the same number of columns
    static PackedMatrix pack(Arena arena, int lanes, WorkerPool pool, Matrix... parts) {
        int inputs = parts[0].columns();
        int outputs = 0;
        boolean bf16 = true;
        for (Matrix part : parts) {
            if (part.columns() != inputs) {
                throw new TensorException("matrices of " + inputs + " and " + part.columns()
                        + " inputs cannot be packed into one: the numbers must be equal");
            }
            outputs += part.rows();
            bf16 &= part.dtype() == DType.BF16;
        }
        PackedMatrix packed = new PackedMatrix(outputs, inputs, lanes, bf16 ? DType.BF16 : DType.F32, arena);
        pool.forEach(packed.panels(), (panel, worker) -> packed.packPanel(panel, parts));
        return packed;
    }

    private void packPanel(int panel, Matrix[] parts) {
        int used = Math.min(panelColumns(), outputs - panel * panelColumns());
        for (int column = 0; column < used; column++) {
            int row = panel * panelColumns() + column;
            int part = 0;
            while (row >= parts[part].rows()) {
                row -= parts[part++].rows();
            }
            if (dtype == DType.BF16) {
                packBf16Row(panel, column, parts[part], row);
            } else {
                packF32Row(panel, column, parts[part], row);
            }
        }
    }

    private void packF32Row(int panel, int column, Matrix matrix, int row) {
        long at = panelOffsetBytes(panel) + (long) column * Float.BYTES;
        long step = (long) panelColumns() * Float.BYTES;
        for (int k = 0; k < inputs; k++, at += step) {
            data.set(FLOAT, at, matrix.get(row, k));
        }
    }

    private void packBf16Row(int panel, int column, Matrix matrix, int row) {
        long at = bf16WordBytes(panel, 0, column);
        long step = (long) panelColumns() / 2 * Integer.BYTES;
        int shift = inLowHalf(column) ? 0 : Short.SIZE;
        for (int k = 0; k < inputs; k++, at += step) {
            data.set(INT, at, data.get(INT, at) | (matrix.bits16(row, k) & 0xffff) << shift);
        }
    }

    private boolean inLowHalf(int column) {
        return column / lanes % 2 == 0;
    }

    private long bf16WordBytes(int panel, int k, int column) {
        int word = column / lanes / 2 * lanes + column % lanes;
        return panelOffsetBytes(panel) + ((long) k * panelColumns() / 2 + word) * Integer.BYTES;
    }

    /// One weight.
    float get(int output, int input) {
        int panel = output / panelColumns();
        int column = output % panelColumns();
        if (dtype == DType.BF16) {
            int word = data.get(INT, bf16WordBytes(panel, input, column));
            return Float.intBitsToFloat(inLowHalf(column) ? word << Short.SIZE : word & 0xffff0000);
        }
        return data.get(FLOAT, panelOffsetBytes(panel) + ((long) input * panelColumns() + column) * Float.BYTES);
    }

    /// Number of outputs: columns of the product.
    public int outputs() {
        return outputs;
    }

    /// Number of inputs: length of each sum.
    public int inputs() {
        return inputs;
    }

    /// How the weights are stored: `F32` or `BF16`.
    public DType dtype() {
        return dtype;
    }

    MemorySegment data() {
        return data;
    }

    int lanes() {
        return lanes;
    }

    int panelColumns() {
        return PANEL_VECTORS * lanes;
    }

    int panels() {
        return Math.ceilDiv(outputs, panelColumns());
    }

    long panelBytes() {
        return (long) inputs * panelColumns() * dtype.bytes();
    }

    long panelOffsetBytes(int panel) {
        return panel * panelBytes();
    }
}
