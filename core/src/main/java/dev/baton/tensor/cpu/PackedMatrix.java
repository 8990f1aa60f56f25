package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;

/// A weight matrix `(outputs, inputs)` in the order in which a matrix product reads it: panels of [#panelColumns()]
/// outputs, in each the values of input 0, then of input 1, and so on. The last panel is filled up with zeros.
///
/// Stored as f32, or as bf16 where the checkpoint is bf16 (half the bytes to read, and expanding is exact, so
/// the results are the same). A bf16 panel keeps two outputs in one 32-bit word: of the columns `c` and `c +
/// lanes`, the first in the low half. One shift and one mask then give two vectors of floats.
///
/// Or quantised to 8-bit integers, see [Quantization#INT8]: a product sums over the integers, and multiplies each
/// sum by its column's scale once, at the end.
///
/// Immutable once packed; the memory belongs to whom the allocator that was passed in says.
public final class PackedMatrix {
    /// Vectors side by side in a panel: with four rows they make sixteen independent sums, which hides the
    /// latency of a multiply-add.
    static final int PANEL_VECTORS = 4;

    private static final long ALIGNMENT_BYTES = 64;
    private static final int INT8_GREATEST = 127;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private final int outputs;
    private final int inputs;
    private final int lanes;
    private final WeightFormat format;
    private final MemorySegment data; // (panels, inputs, panelColumns)
    private final float[] scales; // (panels, panelColumns) if the format is INT8, else empty

    private PackedMatrix(int outputs, int inputs, int lanes, WeightFormat format, SegmentAllocator memory) {
        this.outputs = outputs;
        this.inputs = inputs;
        this.lanes = lanes;
        this.format = format;
        this.data = memory.allocate(panels() * panelBytes(), ALIGNMENT_BYTES);
        this.scales = new float[format == WeightFormat.INT8 ? panels() * panelColumns() : 0];
    }

    /// Packs one or several matrices, one below the other: the product then gives their outputs side by side.
    ///
    /// @param parts with the same number of columns
    static PackedMatrix pack(
            SegmentAllocator memory, int lanes, Quantization quantization, WorkerPool pool, Matrix... parts) {
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
        WeightFormat format = switch (quantization) {
            case NONE -> bf16 ? WeightFormat.BF16 : WeightFormat.F32;
            case INT8 -> WeightFormat.INT8;
        };
        PackedMatrix packed = new PackedMatrix(outputs, inputs, lanes, format, memory);
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
            switch (format) {
                case F32 -> packF32Row(panel, column, parts[part], row);
                case BF16 -> packBf16Row(panel, column, parts[part], row);
                case INT8 -> packInt8Row(panel, column, parts[part], row);
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

    private void packInt8Row(int panel, int column, Matrix matrix, int row) {
        float greatest = 0f;
        for (int k = 0; k < inputs; k++) {
            greatest = Math.max(greatest, Math.abs(matrix.get(row, k)));
        }
        // A channel that has an infinity or a NaN becomes NaN as a whole, one of zeros stays zero.
        float scale = greatest > Float.MAX_VALUE ? Float.NaN : greatest / INT8_GREATEST;
        scales[panel * panelColumns() + column] = scale;
        long at = int8Bytes(panel, 0, column);
        for (int k = 0; k < inputs; k++, at += panelColumns()) {
            data.set(ValueLayout.JAVA_BYTE, at, quantised(matrix.get(row, k), scale));
        }
    }

    /// The nearest integer, ties to the even one; 0 if the scale is 0 or NaN.
    private static byte quantised(float weight, float scale) {
        return scale > 0 ? (byte) Math.clamp(Math.rint(weight / scale), -INT8_GREATEST, INT8_GREATEST) : 0;
    }

    private long int8Bytes(int panel, int k, int column) {
        return panelOffsetBytes(panel) + (long) k * panelColumns() + column;
    }

    private boolean inLowHalf(int column) {
        return column / lanes % 2 == 0;
    }

    private long bf16WordBytes(int panel, int k, int column) {
        int word = column / lanes / 2 * lanes + column % lanes;
        return panelOffsetBytes(panel) + ((long) k * panelColumns() / 2 + word) * Integer.BYTES;
    }

    /// One weight, as the product uses it.
    float get(int output, int input) {
        int panel = output / panelColumns();
        int column = output % panelColumns();
        return switch (format) {
            case F32 ->
                data.get(FLOAT, panelOffsetBytes(panel) + ((long) input * panelColumns() + column) * Float.BYTES);
            case BF16 -> {
                int word = data.get(INT, bf16WordBytes(panel, input, column));
                yield Float.intBitsToFloat(inLowHalf(column) ? word << Short.SIZE : word & 0xffff0000);
            }
            case INT8 -> data.get(ValueLayout.JAVA_BYTE, int8Bytes(panel, input, column)) * scales[output];
        };
    }

    /// Number of outputs: columns of the product.
    public int outputs() {
        return outputs;
    }

    /// Number of inputs: length of each sum.
    public int inputs() {
        return inputs;
    }

    /// How the weights are stored.
    public WeightFormat format() {
        return format;
    }

    /// Memory of the weights and their scales.
    public long bytes() {
        return data.byteSize() + (long) scales.length * Float.BYTES;
    }

    /// Factors of all columns, those of panel after panel; empty unless the format is [WeightFormat#INT8].
    float[] scales() {
        return scales;
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

    /// Distance from the weights of one input to those of the next.
    long panelRowBytes() {
        return (long) panelColumns() * format.bytes();
    }

    long panelBytes() {
        return inputs * panelRowBytes();
    }

    long panelOffsetBytes(int panel) {
        return panel * panelBytes();
    }
}
