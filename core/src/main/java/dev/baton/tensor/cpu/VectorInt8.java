package dev.baton.tensor.cpu;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// Products with 8-bit panels with the Vector API, in the bits of [ScalarKernels]: integers are exact as floats, so
/// a sum is the same chain of multiply-adds as with any other weights.
final class VectorInt8 {
    private static final VectorSpecies<Float> FLOATS = VectorKernels.FLOATS;
    private static final int LANES = FLOATS.length();
    private static final int PANEL = PackedMatrix.PANEL_VECTORS * LANES;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    /// There are no vectors of less than 64 bits, so four lanes of bytes are none.
    static final boolean SUPPORTED = LANES >= Long.BYTES;

    /// As many bytes as there are floats in a vector.
    private static final VectorSpecies<Byte> BYTES =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(Long.SIZE, LANES * Byte.SIZE)));

    /// Rows from which on making floats of the panel first is faster.
    private static final int SHARING_ROWS = 4;

    private VectorInt8() {}

    /// See [Kernels#multiplyPanel]: few rows read the panel as it is, more rows share floats made from a part of
    /// it.
    static void multiplyPanel(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            PackedMatrix w,
            int panel,
            float[] out,
            int outFrom,
            int outStride,
            MemorySegment scratch,
            Kernels kernels) {
        long at = w.panelOffsetBytes(panel);
        if (rows < SHARING_ROWS) {
            for (int r = 0; r < rows; r++) {
                int outRow = outFrom + r * outStride;
                oneRow(a, aFrom + r * aStride, w.data(), at, at + w.panelBytes(), w.panelRowBytes(), out, outRow);
            }
        } else {
            int most = (int) Math.min(scratch.byteSize() / ((long) PANEL * Float.BYTES), w.inputs());
            for (int k = 0; k < w.inputs(); k += most) {
                int inner = Math.min(most, w.inputs() - k);
                widen(w.data(), at + (long) k * PANEL, inner * PANEL, scratch);
                kernels.multiply(
                        a, aFrom + k, aStride, rows, scratch, 0, PANEL, inner, PANEL, out, outFrom, outStride, k > 0);
            }
        }
        for (int r = 0; r < rows; r++) {
            scale(w.scales(), panel * PANEL, out, outFrom + r * outStride);
        }
    }

    private static FloatVector load(MemorySegment w, long at) {
        return (FloatVector)
                ByteVector.fromMemorySegment(BYTES, w, at, ORDER).convertShape(VectorOperators.B2F, FLOATS, 0);
    }

    private static void oneRow(
            float[] a, int a0, MemorySegment w, long from, long end, long rowBytes, float[] out, int o0) {
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = s0;
        FloatVector s2 = s0;
        FloatVector s3 = s0;
        int k = a0;
        for (long at = from; at < end; at += rowBytes) {
            FloatVector x = FloatVector.broadcast(FLOATS, a[k++]);
            s0 = x.fma(load(w, at), s0);
            s1 = x.fma(load(w, at + LANES), s1);
            s2 = x.fma(load(w, at + 2L * LANES), s2);
            s3 = x.fma(load(w, at + 3L * LANES), s3);
        }
        VectorKernels.store(out, o0, s0, s1, s2, s3);
    }

    private static void widen(MemorySegment w, long from, int count, MemorySegment target) {
        for (int i = 0; i < count; i += LANES) {
            load(w, from + i).intoMemorySegment(target, (long) i * Float.BYTES, ORDER);
        }
    }

    private static void scale(float[] scales, int from, float[] out, int at) {
        for (int i = 0; i < PANEL; i += LANES) {
            FloatVector.fromArray(FLOATS, out, at + i)
                    .mul(FloatVector.fromArray(FLOATS, scales, from + i))
                    .intoArray(out, at + i);
        }
    }
}
