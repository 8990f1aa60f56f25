package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API's versions of the loops: the same operations per element as [ScalarKernels], many elements at
/// once. What is left over at the end of a row goes to the scalar loops.
///
/// Loaded only where the module `jdk.incubator.vector` is present: nothing but [CpuOps#create] may name this class.
final class VectorKernels implements Kernels {
    static final VectorSpecies<Float> FLOATS = species();
    static final VectorSpecies<Integer> INTS = VectorSpecies.of(int.class, FLOATS.vectorShape());
    private static final int LANES = FLOATS.length();
    private static final long VECTOR_BYTES = (long) LANES * Float.BYTES;
    private static final int PANEL = PackedMatrix.PANEL_VECTORS * LANES;
    private static final int HIGH_HALF = 0xffff0000;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    /// Side of the squares that are transposed in registers.
    private static final int SQUARE = 16;

    private static final IntVector LOWER_8 = exchange(8, false);
    private static final IntVector UPPER_8 = exchange(8, true);
    private static final IntVector LOWER_4 = exchange(4, false);
    private static final IntVector UPPER_4 = exchange(4, true);
    private static final IntVector LOWER_2 = exchange(2, false);
    private static final IntVector UPPER_2 = exchange(2, true);
    private static final IntVector LOWER_1 = exchange(1, false);
    private static final IntVector UPPER_1 = exchange(1, true);

    private final ScalarKernels scalar = new ScalarKernels();

    private static VectorSpecies<Float> species() {
        VectorSpecies<Float> preferred = FloatVector.SPECIES_PREFERRED;
        return preferred.length() > Sums.PARTIALS ? FloatVector.SPECIES_512 : preferred;
    }

    /// Lanes of the vectors that this machine prefers.
    static int preferredLanes() {
        return LANES;
    }

    @Override
    public String description() {
        return "Vector API " + FLOATS.vectorBitSize() + " bit";
    }

    @Override
    public int lanes() {
        return LANES;
    }

    @Override
    public void multiplyPanel(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            PackedMatrix w,
            int panel,
            float[] out,
            int outFrom,
            int outStride,
            MemorySegment scratch) {
        if (w.lanes() != LANES) {
            throw new TensorException("a matrix packed for " + w.lanes() + " lanes cannot be read with " + LANES);
        }
        long at = w.panelOffsetBytes(panel);
        switch (w.format()) {
            case F32 ->
                multiply(
                        a,
                        aFrom,
                        aStride,
                        rows,
                        w.data(),
                        at,
                        PANEL,
                        w.inputs(),
                        PANEL,
                        out,
                        outFrom,
                        outStride,
                        false);
            case BF16 -> multiplyBf16(a, aFrom, aStride, rows, w, at, out, outFrom, outStride);
            case INT8 -> {
                if (VectorInt8.SUPPORTED) {
                    VectorInt8.multiplyPanel(a, aFrom, aStride, rows, w, panel, out, outFrom, outStride, scratch, this);
                } else {
                    scalar.multiplyPanel(a, aFrom, aStride, rows, w, panel, out, outFrom, outStride, scratch);
                }
            }
        }
    }

    private static void multiplyBf16(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            PackedMatrix w,
            long at,
            float[] out,
            int outFrom,
            int outStride) {
        for (int r = 0; r < rows; r += 4) {
            int last = Math.min(3, rows - 1 - r);
            int aRow = aFrom + r * aStride;
            int outRow = outFrom + r * outStride;
            if (last == 0) {
                bf16OneRow(a, aRow, w.data(), at, at + w.panelBytes(), w.panelRowBytes(), out, outRow);
            } else {
                bf16FourRows(
                        a,
                        aRow,
                        aStride,
                        Math.min(2, last) * aStride,
                        last * aStride,
                        w.data(),
                        at,
                        w.inputs(),
                        out,
                        outRow,
                        outStride,
                        Math.min(2, last) * outStride,
                        last * outStride);
            }
        }
    }

    /// One row by one panel, bound by how fast the weights come from memory.
    ///
    /// The loop goes by the weights' offset, in steps that only the matrix knows: over a step that it knows the
    /// compiler unrolls the loop eightfold and loads the vectors in another order than they lie in memory, which
    /// costs a quarter of the bandwidth. The same holds for the loops of one row over other formats.
    private static void bf16OneRow(
            float[] a, int a0, MemorySegment w, long from, long end, long rowBytes, float[] out, int o0) {
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = s0;
        FloatVector s2 = s0;
        FloatVector s3 = s0;
        int k = a0;
        for (long at = from; at < end; at += rowBytes) {
            IntVector p = IntVector.fromMemorySegment(INTS, w, at, ORDER);
            IntVector q = IntVector.fromMemorySegment(INTS, w, at + VECTOR_BYTES, ORDER);
            FloatVector x = FloatVector.broadcast(FLOATS, a[k++]);
            s0 = x.fma(low(p), s0);
            s1 = x.fma(high(p), s1);
            s2 = x.fma(low(q), s2);
            s3 = x.fma(high(q), s3);
        }
        s0.intoArray(out, o0);
        s1.intoArray(out, o0 + LANES);
        s2.intoArray(out, o0 + 2 * LANES);
        s3.intoArray(out, o0 + 3 * LANES);
    }

    /// Four rows by one panel. For fewer rows the last row is given several times: its sums are then computed and
    /// written several times over, to the same place.
    private static void bf16FourRows(
            float[] a,
            int a0,
            int a1,
            int a2,
            int a3,
            MemorySegment w,
            long from,
            int inner,
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
            IntVector p = IntVector.fromMemorySegment(INTS, w, at, ORDER);
            IntVector q = IntVector.fromMemorySegment(INTS, w, at + VECTOR_BYTES, ORDER);
            at += 2 * VECTOR_BYTES;
            FloatVector b0 = low(p);
            FloatVector b1 = high(p);
            FloatVector b2 = low(q);
            FloatVector b3 = high(q);
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
        store(out, o0, s00, s01, s02, s03);
        store(out, o0 + o1, s10, s11, s12, s13);
        store(out, o0 + o2, s20, s21, s22, s23);
        store(out, o0 + o3, s30, s31, s32, s33);
    }

    static void store(float[] out, int at, FloatVector v0, FloatVector v1, FloatVector v2, FloatVector v3) {
        v0.intoArray(out, at);
        v1.intoArray(out, at + LANES);
        v2.intoArray(out, at + 2 * LANES);
        v3.intoArray(out, at + 3 * LANES);
    }

    private static FloatVector low(IntVector words) {
        return words.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
    }

    private static FloatVector high(IntVector words) {
        return words.and(HIGH_HALF).reinterpretAsFloats();
    }

    @Override
    public void multiply(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            MemorySegment b,
            long bFromBytes,
            int bStride,
            int inner,
            int columns,
            float[] out,
            int outFrom,
            int outStride,
            boolean accumulate) {
        // The loops below always go on from `out`: choosing between two vectors would put them on the heap.
        for (int r = 0; r < rows && !accumulate; r++) {
            Arrays.fill(out, outFrom + r * outStride, outFrom + r * outStride + columns, 0f);
        }
        int c = 0;
        for (; c <= columns - PANEL; c += PANEL) {
            long at = bFromBytes + (long) c * Float.BYTES;
            for (int r = 0; r < rows; r += 4) {
                int last = Math.min(3, rows - 1 - r);
                int aRow = aFrom + r * aStride;
                int outRow = outFrom + r * outStride + c;
                if (last == 0) {
                    oneRow(a, aRow, b, at, bStride, inner, out, outRow);
                } else {
                    fourRows(
                            a,
                            aRow,
                            aStride,
                            Math.min(2, last) * aStride,
                            last * aStride,
                            b,
                            at,
                            bStride,
                            inner,
                            out,
                            outRow,
                            outStride,
                            Math.min(2, last) * outStride,
                            last * outStride);
                }
            }
        }
        for (; c <= columns - LANES; c += LANES) {
            for (int r = 0; r < rows; r++) {
                oneVector(
                        a,
                        aFrom + r * aStride,
                        b,
                        bFromBytes + (long) c * Float.BYTES,
                        bStride,
                        inner,
                        out,
                        outFrom + r * outStride + c);
            }
        }
        if (c < columns) {
            scalar.multiply(
                    a,
                    aFrom,
                    aStride,
                    rows,
                    b,
                    bFromBytes + (long) c * Float.BYTES,
                    bStride,
                    inner,
                    columns - c,
                    out,
                    outFrom + c,
                    outStride,
                    true);
        }
    }

    private static FloatVector load(MemorySegment b, long at) {
        return FloatVector.fromMemorySegment(FLOATS, b, at, ORDER);
    }

    private static void oneVector(
            float[] a, int a0, MemorySegment b, long from, int bStride, int inner, float[] out, int o0) {
        FloatVector s = FloatVector.fromArray(FLOATS, out, o0);
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            s = FloatVector.broadcast(FLOATS, a[k]).fma(load(b, at), s);
            at += (long) bStride * Float.BYTES;
        }
        s.intoArray(out, o0);
    }

    private static void oneRow(
            float[] a, int a0, MemorySegment b, long from, int bStride, int inner, float[] out, int o0) {
        FloatVector s0 = FloatVector.fromArray(FLOATS, out, o0);
        FloatVector s1 = FloatVector.fromArray(FLOATS, out, o0 + LANES);
        FloatVector s2 = FloatVector.fromArray(FLOATS, out, o0 + 2 * LANES);
        FloatVector s3 = FloatVector.fromArray(FLOATS, out, o0 + 3 * LANES);
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            FloatVector x = FloatVector.broadcast(FLOATS, a[k]);
            s0 = x.fma(load(b, at), s0);
            s1 = x.fma(load(b, at + VECTOR_BYTES), s1);
            s2 = x.fma(load(b, at + 2 * VECTOR_BYTES), s2);
            s3 = x.fma(load(b, at + 3 * VECTOR_BYTES), s3);
            at += (long) bStride * Float.BYTES;
        }
        store(out, o0, s0, s1, s2, s3);
    }

    /// Four rows by four vectors; see [#bf16FourRows] for fewer rows.
    private static void fourRows(
            float[] a,
            int a0,
            int a1,
            int a2,
            int a3,
            MemorySegment b,
            long from,
            int bStride,
            int inner,
            float[] out,
            int o0,
            int o1,
            int o2,
            int o3) {
        FloatVector s00 = FloatVector.fromArray(FLOATS, out, o0);
        FloatVector s01 = FloatVector.fromArray(FLOATS, out, o0 + LANES);
        FloatVector s02 = FloatVector.fromArray(FLOATS, out, o0 + 2 * LANES);
        FloatVector s03 = FloatVector.fromArray(FLOATS, out, o0 + 3 * LANES);
        FloatVector s10 = FloatVector.fromArray(FLOATS, out, o0 + o1);
        FloatVector s11 = FloatVector.fromArray(FLOATS, out, o0 + o1 + LANES);
        FloatVector s12 = FloatVector.fromArray(FLOATS, out, o0 + o1 + 2 * LANES);
        FloatVector s13 = FloatVector.fromArray(FLOATS, out, o0 + o1 + 3 * LANES);
        FloatVector s20 = FloatVector.fromArray(FLOATS, out, o0 + o2);
        FloatVector s21 = FloatVector.fromArray(FLOATS, out, o0 + o2 + LANES);
        FloatVector s22 = FloatVector.fromArray(FLOATS, out, o0 + o2 + 2 * LANES);
        FloatVector s23 = FloatVector.fromArray(FLOATS, out, o0 + o2 + 3 * LANES);
        FloatVector s30 = FloatVector.fromArray(FLOATS, out, o0 + o3);
        FloatVector s31 = FloatVector.fromArray(FLOATS, out, o0 + o3 + LANES);
        FloatVector s32 = FloatVector.fromArray(FLOATS, out, o0 + o3 + 2 * LANES);
        FloatVector s33 = FloatVector.fromArray(FLOATS, out, o0 + o3 + 3 * LANES);
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            FloatVector b0 = load(b, at);
            FloatVector b1 = load(b, at + VECTOR_BYTES);
            FloatVector b2 = load(b, at + 2 * VECTOR_BYTES);
            FloatVector b3 = load(b, at + 3 * VECTOR_BYTES);
            at += (long) bStride * Float.BYTES;
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
        store(out, o0, s00, s01, s02, s03);
        store(out, o0 + o1, s10, s11, s12, s13);
        store(out, o0 + o2, s20, s21, s22, s23);
        store(out, o0 + o3, s30, s31, s32, s33);
    }

    @Override
    public void widen(
            MemorySegment source, long fromBytes, DType dtype, int count, MemorySegment target, long targetFromBytes) {
        int done = VectorConversions.widen(source, fromBytes, dtype, count, target, targetFromBytes);
        scalar.widen(
                source,
                fromBytes + (long) done * dtype.bytes(),
                dtype,
                count - done,
                target,
                targetFromBytes + (long) done * Float.BYTES);
    }

    @Override
    public void narrow(float[] x, int from, int count, DType dtype, MemorySegment target, long targetFromBytes) {
        int done = VectorConversions.narrow(x, from, count, dtype, target, targetFromBytes);
        scalar.narrow(x, from + done, count - done, dtype, target, targetFromBytes + (long) done * dtype.bytes());
    }

    @Override
    public void transpose(
            MemorySegment source,
            long[] rowOffsetsBytes,
            int rows,
            int columns,
            MemorySegment target,
            int targetStride) {
        int bound = LANES == SQUARE ? columns - columns % SQUARE : 0;
        for (int r = 0; r < rows && bound > 0; r += SQUARE) {
            for (int c = 0; c < bound; c += SQUARE) {
                transposeSquare(source, rowOffsetsBytes, r, rows - 1, c, target, targetStride);
            }
        }
        ScalarKernels.transposeColumns(source, rowOffsetsBytes, rows, bound, columns, target, targetStride);
    }

    /// Transposes 16 x 16 elements: in four steps, vectors at distance 8, 4, 2 and 1 exchange halves, quarters,
    /// and so on. Rows after the last one are read as the last one.
    private static void transposeSquare(
            MemorySegment source,
            long[] rowOffsetsBytes,
            int row,
            int lastRow,
            int column,
            MemorySegment target,
            int targetStride) {
        long in = (long) column * Float.BYTES;
        IntVector a0 = loadRow(source, rowOffsetsBytes[Math.min(row + 0, lastRow)] + in);
        IntVector a1 = loadRow(source, rowOffsetsBytes[Math.min(row + 1, lastRow)] + in);
        IntVector a2 = loadRow(source, rowOffsetsBytes[Math.min(row + 2, lastRow)] + in);
        IntVector a3 = loadRow(source, rowOffsetsBytes[Math.min(row + 3, lastRow)] + in);
        IntVector a4 = loadRow(source, rowOffsetsBytes[Math.min(row + 4, lastRow)] + in);
        IntVector a5 = loadRow(source, rowOffsetsBytes[Math.min(row + 5, lastRow)] + in);
        IntVector a6 = loadRow(source, rowOffsetsBytes[Math.min(row + 6, lastRow)] + in);
        IntVector a7 = loadRow(source, rowOffsetsBytes[Math.min(row + 7, lastRow)] + in);
        IntVector a8 = loadRow(source, rowOffsetsBytes[Math.min(row + 8, lastRow)] + in);
        IntVector a9 = loadRow(source, rowOffsetsBytes[Math.min(row + 9, lastRow)] + in);
        IntVector a10 = loadRow(source, rowOffsetsBytes[Math.min(row + 10, lastRow)] + in);
        IntVector a11 = loadRow(source, rowOffsetsBytes[Math.min(row + 11, lastRow)] + in);
        IntVector a12 = loadRow(source, rowOffsetsBytes[Math.min(row + 12, lastRow)] + in);
        IntVector a13 = loadRow(source, rowOffsetsBytes[Math.min(row + 13, lastRow)] + in);
        IntVector a14 = loadRow(source, rowOffsetsBytes[Math.min(row + 14, lastRow)] + in);
        IntVector a15 = loadRow(source, rowOffsetsBytes[Math.min(row + 15, lastRow)] + in);
        IntVector b0 = LOWER_8.selectFrom(a0, a8);
        IntVector b8 = UPPER_8.selectFrom(a0, a8);
        IntVector b1 = LOWER_8.selectFrom(a1, a9);
        IntVector b9 = UPPER_8.selectFrom(a1, a9);
        IntVector b2 = LOWER_8.selectFrom(a2, a10);
        IntVector b10 = UPPER_8.selectFrom(a2, a10);
        IntVector b3 = LOWER_8.selectFrom(a3, a11);
        IntVector b11 = UPPER_8.selectFrom(a3, a11);
        IntVector b4 = LOWER_8.selectFrom(a4, a12);
        IntVector b12 = UPPER_8.selectFrom(a4, a12);
        IntVector b5 = LOWER_8.selectFrom(a5, a13);
        IntVector b13 = UPPER_8.selectFrom(a5, a13);
        IntVector b6 = LOWER_8.selectFrom(a6, a14);
        IntVector b14 = UPPER_8.selectFrom(a6, a14);
        IntVector b7 = LOWER_8.selectFrom(a7, a15);
        IntVector b15 = UPPER_8.selectFrom(a7, a15);
        IntVector c0 = LOWER_4.selectFrom(b0, b4);
        IntVector c4 = UPPER_4.selectFrom(b0, b4);
        IntVector c1 = LOWER_4.selectFrom(b1, b5);
        IntVector c5 = UPPER_4.selectFrom(b1, b5);
        IntVector c2 = LOWER_4.selectFrom(b2, b6);
        IntVector c6 = UPPER_4.selectFrom(b2, b6);
        IntVector c3 = LOWER_4.selectFrom(b3, b7);
        IntVector c7 = UPPER_4.selectFrom(b3, b7);
        IntVector c8 = LOWER_4.selectFrom(b8, b12);
        IntVector c12 = UPPER_4.selectFrom(b8, b12);
        IntVector c9 = LOWER_4.selectFrom(b9, b13);
        IntVector c13 = UPPER_4.selectFrom(b9, b13);
        IntVector c10 = LOWER_4.selectFrom(b10, b14);
        IntVector c14 = UPPER_4.selectFrom(b10, b14);
        IntVector c11 = LOWER_4.selectFrom(b11, b15);
        IntVector c15 = UPPER_4.selectFrom(b11, b15);
        IntVector d0 = LOWER_2.selectFrom(c0, c2);
        IntVector d2 = UPPER_2.selectFrom(c0, c2);
        IntVector d1 = LOWER_2.selectFrom(c1, c3);
        IntVector d3 = UPPER_2.selectFrom(c1, c3);
        IntVector d4 = LOWER_2.selectFrom(c4, c6);
        IntVector d6 = UPPER_2.selectFrom(c4, c6);
        IntVector d5 = LOWER_2.selectFrom(c5, c7);
        IntVector d7 = UPPER_2.selectFrom(c5, c7);
        IntVector d8 = LOWER_2.selectFrom(c8, c10);
        IntVector d10 = UPPER_2.selectFrom(c8, c10);
        IntVector d9 = LOWER_2.selectFrom(c9, c11);
        IntVector d11 = UPPER_2.selectFrom(c9, c11);
        IntVector d12 = LOWER_2.selectFrom(c12, c14);
        IntVector d14 = UPPER_2.selectFrom(c12, c14);
        IntVector d13 = LOWER_2.selectFrom(c13, c15);
        IntVector d15 = UPPER_2.selectFrom(c13, c15);
        IntVector e0 = LOWER_1.selectFrom(d0, d1);
        IntVector e1 = UPPER_1.selectFrom(d0, d1);
        IntVector e2 = LOWER_1.selectFrom(d2, d3);
        IntVector e3 = UPPER_1.selectFrom(d2, d3);
        IntVector e4 = LOWER_1.selectFrom(d4, d5);
        IntVector e5 = UPPER_1.selectFrom(d4, d5);
        IntVector e6 = LOWER_1.selectFrom(d6, d7);
        IntVector e7 = UPPER_1.selectFrom(d6, d7);
        IntVector e8 = LOWER_1.selectFrom(d8, d9);
        IntVector e9 = UPPER_1.selectFrom(d8, d9);
        IntVector e10 = LOWER_1.selectFrom(d10, d11);
        IntVector e11 = UPPER_1.selectFrom(d10, d11);
        IntVector e12 = LOWER_1.selectFrom(d12, d13);
        IntVector e13 = UPPER_1.selectFrom(d12, d13);
        IntVector e14 = LOWER_1.selectFrom(d14, d15);
        IntVector e15 = UPPER_1.selectFrom(d14, d15);
        long out = ((long) column * targetStride + row) * Float.BYTES;
        long step = (long) targetStride * Float.BYTES;
        e0.intoMemorySegment(target, out, ORDER);
        e1.intoMemorySegment(target, out + step, ORDER);
        e2.intoMemorySegment(target, out + 2 * step, ORDER);
        e3.intoMemorySegment(target, out + 3 * step, ORDER);
        e4.intoMemorySegment(target, out + 4 * step, ORDER);
        e5.intoMemorySegment(target, out + 5 * step, ORDER);
        e6.intoMemorySegment(target, out + 6 * step, ORDER);
        e7.intoMemorySegment(target, out + 7 * step, ORDER);
        e8.intoMemorySegment(target, out + 8 * step, ORDER);
        e9.intoMemorySegment(target, out + 9 * step, ORDER);
        e10.intoMemorySegment(target, out + 10 * step, ORDER);
        e11.intoMemorySegment(target, out + 11 * step, ORDER);
        e12.intoMemorySegment(target, out + 12 * step, ORDER);
        e13.intoMemorySegment(target, out + 13 * step, ORDER);
        e14.intoMemorySegment(target, out + 14 * step, ORDER);
        e15.intoMemorySegment(target, out + 15 * step, ORDER);
    }

    private static IntVector loadRow(MemorySegment source, long at) {
        return IntVector.fromMemorySegment(INTS, source, at, ORDER);
    }

    /// For two vectors side by side (indices up to twice the lanes): the lanes that the first of the two keeps
    /// or takes over when groups of `distance` lanes change places, or with `upper` those of the second.
    private static IntVector exchange(int distance, boolean upper) {
        int[] lanes = new int[LANES];
        for (int i = 0; i < LANES; i++) {
            boolean fromSecond = (i & distance) != 0;
            int lane = upper ? i | distance : i & ~distance;
            lanes[i] = fromSecond ? LANES + lane : lane;
        }
        return IntVector.fromArray(INTS, lanes, 0);
    }

    @Override
    public float softmaxNumerators(float[] scores, int from, int count, float[] partials) {
        int bound = count - count % Sums.PARTIALS;
        FloatVector greatest = FloatVector.broadcast(FLOATS, Float.NEGATIVE_INFINITY);
        for (int i = 0; i < bound; i += LANES) {
            FloatVector s = FloatVector.fromArray(FLOATS, scores, from + i);
            greatest = greatest.blend(s, s.compare(VectorOperators.GT, greatest));
        }
        greatest.intoArray(partials, 0);
        float max = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < LANES; i++) {
            max = partials[i] > max ? partials[i] : max;
        }
        for (int i = bound; i < count; i++) {
            max = scores[from + i] > max ? scores[from + i] : max;
        }
        for (int v = 0; v < Sums.PARTIALS; v += LANES) {
            FloatVector sum = FloatVector.zero(FLOATS);
            for (int i = v; i < bound; i += Sums.PARTIALS) {
                FloatVector e =
                        exp(FloatVector.fromArray(FLOATS, scores, from + i).sub(max));
                e.intoArray(scores, from + i);
                sum = sum.add(e);
            }
            sum.intoArray(partials, v);
        }
        for (int i = bound; i < count; i++) {
            float e = Exp.exp(scores[from + i] - max);
            scores[from + i] = e;
            partials[i - bound] += e;
        }
        return Sums.fold(partials);
    }

    private static FloatVector exp(FloatVector argument) {
        VectorMask<Float> low = argument.compare(VectorOperators.LT, Exp.LOW);
        VectorMask<Float> high = argument.compare(VectorOperators.GT, Exp.HIGH);
        FloatVector x = argument.blend(Exp.LOW, low).blend(Exp.HIGH, high);
        FloatVector shifted =
                x.fma(FloatVector.broadcast(FLOATS, Exp.LOG2_E), FloatVector.broadcast(FLOATS, Exp.ROUND));
        FloatVector n = shifted.sub(Exp.ROUND);
        FloatVector r = n.fma(
                FloatVector.broadcast(FLOATS, -Exp.LN2_LOW), n.fma(FloatVector.broadcast(FLOATS, -Exp.LN2_HIGH), x));
        FloatVector p = FloatVector.broadcast(FLOATS, Exp.C0).fma(r, FloatVector.broadcast(FLOATS, Exp.C1));
        p = p.fma(r, FloatVector.broadcast(FLOATS, Exp.C2));
        p = p.fma(r, FloatVector.broadcast(FLOATS, Exp.C3));
        p = p.fma(r, FloatVector.broadcast(FLOATS, Exp.C4));
        p = p.fma(r, FloatVector.broadcast(FLOATS, Exp.C5));
        FloatVector y = p.fma(r.mul(r), r).add(1f);
        FloatVector power = shifted.reinterpretAsInts()
                .add(Exp.EXPONENT_BIAS)
                .lanewise(VectorOperators.LSHL, Exp.EXPONENT_SHIFT)
                .reinterpretAsFloats();
        return y.mul(power);
    }

    @Override
    public void rmsNorm(
            float[] x, int from, int count, float[] weight, float epsilon, float[] out, int outFrom, float[] partials) {
        int bound = count - count % Sums.PARTIALS;
        for (int v = 0; v < Sums.PARTIALS; v += LANES) {
            FloatVector sum = FloatVector.zero(FLOATS);
            for (int i = v; i < bound; i += Sums.PARTIALS) {
                FloatVector e = FloatVector.fromArray(FLOATS, x, from + i);
                sum = e.fma(e, sum);
            }
            sum.intoArray(partials, v);
        }
        for (int i = bound; i < count; i++) {
            partials[i - bound] = Math.fma(x[from + i], x[from + i], partials[i - bound]);
        }
        float scale = ScalarKernels.rmsScale(Sums.fold(partials), count, epsilon);
        for (int i = 0; i < bound; i += LANES) {
            FloatVector.fromArray(FLOATS, x, from + i)
                    .mul(scale)
                    .mul(FloatVector.fromArray(FLOATS, weight, i))
                    .intoArray(out, outFrom + i);
        }
        for (int i = bound; i < count; i++) {
            out[outFrom + i] = x[from + i] * scale * weight[i];
        }
    }

    @Override
    public void rotate(float[] x, int from, int headDim, float[] cos, float[] sin, int tableFrom) {
        int half = headDim / 2;
        if (half % LANES != 0) {
            scalar.rotate(x, from, headDim, cos, sin, tableFrom);
            return;
        }
        for (int i = 0; i < half; i += LANES) {
            FloatVector first = FloatVector.fromArray(FLOATS, x, from + i);
            FloatVector second = FloatVector.fromArray(FLOATS, x, from + half + i);
            FloatVector c = FloatVector.fromArray(FLOATS, cos, tableFrom + i);
            FloatVector s = FloatVector.fromArray(FLOATS, sin, tableFrom + i);
            first.fma(c, second.mul(s).neg()).intoArray(x, from + i);
            second.fma(c, first.mul(s)).intoArray(x, from + half + i);
        }
    }

    @Override
    public void siluMultiply(float[] x, int gateFrom, int upFrom, int count, float[] out, int outFrom) {
        int bound = FLOATS.loopBound(count);
        for (int i = 0; i < bound; i += LANES) {
            FloatVector gate = FloatVector.fromArray(FLOATS, x, gateFrom + i);
            gate.div(exp(gate.neg()).add(1f))
                    .mul(FloatVector.fromArray(FLOATS, x, upFrom + i))
                    .intoArray(out, outFrom + i);
        }
        scalar.siluMultiply(x, gateFrom + bound, upFrom + bound, count - bound, out, outFrom + bound);
    }

    @Override
    public void add(float[] x, int from, float[] y, int yFrom, int count) {
        int bound = FLOATS.loopBound(count);
        for (int i = 0; i < bound; i += LANES) {
            FloatVector.fromArray(FLOATS, x, from + i)
                    .add(FloatVector.fromArray(FLOATS, y, yFrom + i))
                    .intoArray(x, from + i);
        }
        scalar.add(x, from + bound, y, yFrom + bound, count - bound);
    }

    @Override
    public void scale(float[] x, int from, int count, float factor, float[] out, int outFrom) {
        int bound = FLOATS.loopBound(count);
        for (int i = 0; i < bound; i += LANES) {
            FloatVector.fromArray(FLOATS, x, from + i).mul(factor).intoArray(out, outFrom + i);
        }
        scalar.scale(x, from + bound, count - bound, factor, out, outFrom + bound);
    }
}
