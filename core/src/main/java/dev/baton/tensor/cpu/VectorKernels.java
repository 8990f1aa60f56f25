package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API's versions of the loops: the same operations per element as [ScalarKernels], many elements at
/// once.
/// What is left over at the end of a row goes to the scalar loops.
///
/// Loaded only where the module `jdk.incubator.vector` is present: nothing but [CpuOps#create] may name this class.
final class VectorKernels implements Kernels {
    private static final VectorSpecies<Float> FLOATS = species();
    private static final VectorSpecies<Integer> INTS = VectorSpecies.of(int.class, FLOATS.vectorShape());
    private static final int LANES = FLOATS.length();
    private static final long VECTOR_BYTES = (long) LANES * Float.BYTES;
    private static final int PANEL = PackedMatrix.PANEL_VECTORS * LANES;
    private static final int HIGH_HALF = 0xffff0000;
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

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
            int outStride) {
        if (w.lanes() != LANES) {
            throw new TensorException("a matrix packed for " + w.lanes() + " lanes cannot be read with " + LANES);
        }
        long at = w.panelOffsetBytes(panel);
        if (w.dtype() == DType.F32) {
            multiply(a, aFrom, aStride, rows, w.data(), at, PANEL, w.inputs(), PANEL, out, outFrom, outStride, false);
            return;
        }
        for (int r = 0; r < rows; r += 4) {
            int last = Math.min(3, rows - 1 - r);
            int aRow = aFrom + r * aStride;
            int outRow = outFrom + r * outStride;
            if (last == 0) {
                bf16OneRow(a, aRow, w.data(), at, w.inputs(), out, outRow);
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

    private static void bf16OneRow(float[] a, int a0, MemorySegment w, long from, int inner, float[] out, int o0) {
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = s0;
        FloatVector s2 = s0;
        FloatVector s3 = s0;
        long at = from;
        for (int k = 0; k < inner; k++) {
            IntVector p = IntVector.fromMemorySegment(INTS, w, at, ORDER);
            IntVector q = IntVector.fromMemorySegment(INTS, w, at + VECTOR_BYTES, ORDER);
            at += 2 * VECTOR_BYTES;
            FloatVector x = FloatVector.broadcast(FLOATS, a[a0 + k]);
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

    private static void store(float[] out, int at, FloatVector v0, FloatVector v1, FloatVector v2, FloatVector v3) {
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
        int c = 0;
        for (; c <= columns - PANEL; c += PANEL) {
            long at = bFromBytes + (long) c * Float.BYTES;
            for (int r = 0; r < rows; r += 4) {
                int last = Math.min(3, rows - 1 - r);
                int aRow = aFrom + r * aStride;
                int outRow = outFrom + r * outStride + c;
                if (last == 0) {
                    oneRow(a, aRow, b, at, bStride, inner, out, outRow, accumulate);
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
                            last * outStride,
                            accumulate);
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
                        outFrom + r * outStride + c,
                        accumulate);
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
                    accumulate);
        }
    }

    private static FloatVector begin(float[] out, int at, boolean accumulate) {
        return accumulate ? FloatVector.fromArray(FLOATS, out, at) : FloatVector.zero(FLOATS);
    }

    private static FloatVector load(MemorySegment b, long at) {
        return FloatVector.fromMemorySegment(FLOATS, b, at, ORDER);
    }

    private static void oneVector(
            float[] a,
            int a0,
            MemorySegment b,
            long from,
            int bStride,
            int inner,
            float[] out,
            int o0,
            boolean accumulate) {
        FloatVector s = begin(out, o0, accumulate);
        long at = from;
        for (int k = a0; k < a0 + inner; k++) {
            s = FloatVector.broadcast(FLOATS, a[k]).fma(load(b, at), s);
            at += (long) bStride * Float.BYTES;
        }
        s.intoArray(out, o0);
    }

    private static void oneRow(
            float[] a,
            int a0,
            MemorySegment b,
            long from,
            int bStride,
            int inner,
            float[] out,
            int o0,
            boolean accumulate) {
        FloatVector s0 = begin(out, o0, accumulate);
        FloatVector s1 = begin(out, o0 + LANES, accumulate);
        FloatVector s2 = begin(out, o0 + 2 * LANES, accumulate);
        FloatVector s3 = begin(out, o0 + 3 * LANES, accumulate);
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
            int o3,
            boolean accumulate) {
        FloatVector s00 = begin(out, o0, accumulate);
        FloatVector s01 = begin(out, o0 + LANES, accumulate);
        FloatVector s02 = begin(out, o0 + 2 * LANES, accumulate);
        FloatVector s03 = begin(out, o0 + 3 * LANES, accumulate);
        FloatVector s10 = begin(out, o0 + o1, accumulate);
        FloatVector s11 = begin(out, o0 + o1 + LANES, accumulate);
        FloatVector s12 = begin(out, o0 + o1 + 2 * LANES, accumulate);
        FloatVector s13 = begin(out, o0 + o1 + 3 * LANES, accumulate);
        FloatVector s20 = begin(out, o0 + o2, accumulate);
        FloatVector s21 = begin(out, o0 + o2 + LANES, accumulate);
        FloatVector s22 = begin(out, o0 + o2 + 2 * LANES, accumulate);
        FloatVector s23 = begin(out, o0 + o2 + 3 * LANES, accumulate);
        FloatVector s30 = begin(out, o0 + o3, accumulate);
        FloatVector s31 = begin(out, o0 + o3 + LANES, accumulate);
        FloatVector s32 = begin(out, o0 + o3 + 2 * LANES, accumulate);
        FloatVector s33 = begin(out, o0 + o3 + 3 * LANES, accumulate);
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
    public void transpose(
            MemorySegment source,
            long fromBytes,
            int rows,
            int columns,
            MemorySegment target,
            long targetFromBytes,
            int targetStride) {
        scalar.transpose(source, fromBytes, rows, columns, target, targetFromBytes, targetStride);
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
    public void add(float[] x, float[] y, int from, int count) {
        int bound = FLOATS.loopBound(count);
        for (int i = from; i < from + bound; i += LANES) {
            FloatVector.fromArray(FLOATS, x, i)
                    .add(FloatVector.fromArray(FLOATS, y, i))
                    .intoArray(x, i);
        }
        scalar.add(x, y, from + bound, count - bound);
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
