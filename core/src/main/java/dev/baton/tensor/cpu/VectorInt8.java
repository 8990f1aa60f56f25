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

    private VectorInt8() {}

    /// See [Kernels#multiplyPanel].
    static void multiplyPanel(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            PackedMatrix w,
            int panel,
            float[] out,
            int outFrom,
            int outStride) {
        long at = w.panelOffsetBytes(panel);
        for (int r = 0; r < rows; r += 4) {
            int last = Math.min(3, rows - 1 - r);
            int aRow = aFrom + r * aStride;
            int outRow = outFrom + r * outStride;
            if (last == 0) {
                oneRow(a, aRow, w.data(), at, w.inputs(), w.scales(), panel * PANEL, out, outRow);
            } else {
                fourRows(
                        a,
                        aRow,
                        aStride,
                        Math.min(2, last) * aStride,
                        last * aStride,
                        w.data(),
                        at,
                        w.inputs(),
                        w.scales(),
                        panel * PANEL,
                        out,
                        outRow,
                        outStride,
                        Math.min(2, last) * outStride,
                        last * outStride);
            }
        }
    }

    private static FloatVector load(MemorySegment w, long at) {
        return (FloatVector)
                ByteVector.fromMemorySegment(BYTES, w, at, ORDER).convertShape(VectorOperators.B2F, FLOATS, 0);
    }

    private static void oneRow(
            float[] a, int a0, MemorySegment w, long from, int inner, float[] scales, int scale, float[] out, int o0) {
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = s0;
        FloatVector s2 = s0;
        FloatVector s3 = s0;
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            FloatVector x = FloatVector.broadcast(FLOATS, a[k]);
            s0 = x.fma(load(w, at), s0);
            s1 = x.fma(load(w, at + LANES), s1);
            s2 = x.fma(load(w, at + 2L * LANES), s2);
            s3 = x.fma(load(w, at + 3L * LANES), s3);
            at += PANEL;
        }
        store(out, o0, scales, scale, s0, s1, s2, s3);
    }

    /// Four rows by one panel. For fewer rows the last row is given several times: its sums are then computed and
    /// written several times over, to the same place.
    private static void fourRows(
            float[] a,
            int a0,
            int a1,
            int a2,
            int a3,
            MemorySegment w,
            long from,
            int inner,
            float[] scales,
            int scale,
            float[] out,
            int o0,
            int o1,
            int o2,
            int o3) {
        FloatVector s00 = FloatVector.zero(FLOATS);
        FloatVector s01 = s00;
        FloatVector s02 = s00;
        FloatVector s03 = s00;
        FloatVector s10 = s00;
        FloatVector s11 = s00;
        FloatVector s12 = s00;
        FloatVector s13 = s00;
        FloatVector s20 = s00;
        FloatVector s21 = s00;
        FloatVector s22 = s00;
        FloatVector s23 = s00;
        FloatVector s30 = s00;
        FloatVector s31 = s00;
        FloatVector s32 = s00;
        FloatVector s33 = s00;
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            FloatVector b0 = load(w, at);
            FloatVector b1 = load(w, at + LANES);
            FloatVector b2 = load(w, at + 2L * LANES);
            FloatVector b3 = load(w, at + 3L * LANES);
            at += PANEL;
            FloatVector x = FloatVector.broadcast(FLOATS, a[k]);
            s00 = x.fma(b0, s00);
            s01 = x.fma(b1, s01);
            s02 = x.fma(b2, s02);
            s03 = x.fma(b3, s03);
            x = FloatVector.broadcast(FLOATS, a[k + a1]);
            s10 = x.fma(b0, s10);
            s11 = x.fma(b1, s11);
            s12 = x.fma(b2, s12);
            s13 = x.fma(b3, s13);
            x = FloatVector.broadcast(FLOATS, a[k + a2]);
            s20 = x.fma(b0, s20);
            s21 = x.fma(b1, s21);
            s22 = x.fma(b2, s22);
            s23 = x.fma(b3, s23);
            x = FloatVector.broadcast(FLOATS, a[k + a3]);
            s30 = x.fma(b0, s30);
            s31 = x.fma(b1, s31);
            s32 = x.fma(b2, s32);
            s33 = x.fma(b3, s33);
        }
        store(out, o0, scales, scale, s00, s01, s02, s03);
        store(out, o0 + o1, scales, scale, s10, s11, s12, s13);
        store(out, o0 + o2, scales, scale, s20, s21, s22, s23);
        store(out, o0 + o3, scales, scale, s30, s31, s32, s33);
    }

    private static void store(
            float[] out,
            int at,
            float[] scales,
            int scale,
            FloatVector v0,
            FloatVector v1,
            FloatVector v2,
            FloatVector v3) {
        v0.mul(FloatVector.fromArray(FLOATS, scales, scale)).intoArray(out, at);
        v1.mul(FloatVector.fromArray(FLOATS, scales, scale + LANES)).intoArray(out, at + LANES);
        v2.mul(FloatVector.fromArray(FLOATS, scales, scale + 2 * LANES)).intoArray(out, at + 2 * LANES);
        v3.mul(FloatVector.fromArray(FLOATS, scales, scale + 3 * LANES)).intoArray(out, at + 3 * LANES);
    }
}
