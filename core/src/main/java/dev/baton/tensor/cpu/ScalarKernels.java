package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/// The reference: plain loops that say what every operation is, operation by operation.
final class ScalarKernels implements Kernels {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT;
    private static final int HIGH_HALF = 0xffff0000;

    @Override
    public String description() {
        return "scalar";
    }

    @Override
    public int lanes() {
        return Sums.PARTIALS;
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
        switch (w.format()) {
            case F32 ->
                multiply(
                        a,
                        aFrom,
                        aStride,
                        rows,
                        w.data(),
                        w.panelOffsetBytes(panel),
                        w.panelColumns(),
                        w.inputs(),
                        w.panelColumns(),
                        out,
                        outFrom,
                        outStride,
                        false);
            case BF16 -> {
                for (int r = 0; r < rows; r++) {
                    multiplyBf16(a, aFrom + r * aStride, w, panel, out, outFrom + r * outStride);
                }
            }
            case INT8 -> {
                for (int r = 0; r < rows; r++) {
                    multiplyInt8(a, aFrom + r * aStride, w, panel, out, outFrom + r * outStride);
                }
            }
        }
    }

    private static void multiplyBf16(float[] a, int aFrom, PackedMatrix w, int panel, float[] out, int o) {
        int lanes = w.lanes();
        Arrays.fill(out, o, o + w.panelColumns(), 0f);
        long at = w.panelOffsetBytes(panel);
        for (int k = 0; k < w.inputs(); k++) {
            float x = a[aFrom + k];
            for (int c = 0; c < w.panelColumns(); c += 2 * lanes) {
                for (int j = c; j < c + lanes; j++) {
                    int word = w.data().get(INT, at);
                    at += Integer.BYTES;
                    out[o + j] = Math.fma(x, Float.intBitsToFloat(word << 16), out[o + j]);
                    out[o + j + lanes] = Math.fma(x, Float.intBitsToFloat(word & HIGH_HALF), out[o + j + lanes]);
                }
            }
        }
    }

    private static void multiplyInt8(float[] a, int aFrom, PackedMatrix w, int panel, float[] out, int o) {
        int columns = w.panelColumns();
        Arrays.fill(out, o, o + columns, 0f);
        long at = w.panelOffsetBytes(panel);
        for (int k = 0; k < w.inputs(); k++) {
            for (int c = 0; c < columns; c++) {
                out[o + c] = Math.fma(a[aFrom + k], w.data().get(ValueLayout.JAVA_BYTE, at++), out[o + c]);
            }
        }
        for (int c = 0; c < columns; c++) {
            out[o + c] *= w.scales()[panel * columns + c];
        }
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
        for (int r = 0; r < rows; r++) {
            int o = outFrom + r * outStride;
            if (!accumulate) {
                Arrays.fill(out, o, o + columns, 0f);
            }
            for (int k = 0; k < inner; k++) {
                float x = a[aFrom + r * aStride + k];
                long row = bFromBytes + (long) k * bStride * Float.BYTES;
                for (int c = 0; c < columns; c++) {
                    out[o + c] = Math.fma(x, b.get(FLOAT, row + (long) c * Float.BYTES), out[o + c]);
                }
            }
        }
    }

    @Override
    public void widen(
            MemorySegment source, long fromBytes, DType dtype, int count, MemorySegment target, long targetFromBytes) {
        for (int i = 0; i < count; i++) {
            long at = fromBytes + (long) i * dtype.bytes();
            float value = switch (dtype) {
                case F32 -> source.get(FLOAT, at);
                case F16 -> Float.float16ToFloat(source.get(SHORT, at));
                case BF16 -> DType.bf16ToFloat(source.get(SHORT, at));
            };
            target.set(FLOAT, targetFromBytes + (long) i * Float.BYTES, value);
        }
    }

    @Override
    public void narrow(float[] x, int from, int count, DType dtype, MemorySegment target, long targetFromBytes) {
        for (int i = 0; i < count; i++) {
            long at = targetFromBytes + (long) i * dtype.bytes();
            switch (dtype) {
                case F32 -> target.set(FLOAT, at, x[from + i]);
                case F16 -> target.set(SHORT, at, Float.floatToFloat16(x[from + i]));
                case BF16 -> target.set(SHORT, at, DType.floatToBf16(x[from + i]));
            }
        }
    }

    @Override
    public void transpose(
            MemorySegment source,
            long[] rowOffsetsBytes,
            int rows,
            int columns,
            MemorySegment target,
            int targetStride) {
        transposeColumns(source, rowOffsetsBytes, rows, 0, columns, target, targetStride);
    }

    static void transposeColumns(
            MemorySegment source,
            long[] rowOffsetsBytes,
            int rows,
            int fromColumn,
            int columns,
            MemorySegment target,
            int targetStride) {
        for (int c = fromColumn; c < columns; c++) {
            for (int r = 0; r < rows; r++) {
                float value = source.get(FLOAT, rowOffsetsBytes[r] + (long) c * Float.BYTES);
                target.set(FLOAT, ((long) c * targetStride + r) * Float.BYTES, value);
            }
        }
    }

    @Override
    public float softmaxNumerators(float[] scores, int from, int count, float[] partials) {
        float max = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < count; i++) {
            max = scores[from + i] > max ? scores[from + i] : max;
        }
        Arrays.fill(partials, 0f);
        for (int i = 0; i < count; i++) {
            float e = Exp.exp(scores[from + i] - max);
            scores[from + i] = e;
            partials[i % Sums.PARTIALS] += e;
        }
        return Sums.fold(partials);
    }

    @Override
    public void rmsNorm(
            float[] x, int from, int count, float[] weight, float epsilon, float[] out, int outFrom, float[] partials) {
        Arrays.fill(partials, 0f);
        for (int i = 0; i < count; i++) {
            int p = i % Sums.PARTIALS;
            partials[p] = Math.fma(x[from + i], x[from + i], partials[p]);
        }
        float scale = rmsScale(Sums.fold(partials), count, epsilon);
        for (int i = 0; i < count; i++) {
            out[outFrom + i] = x[from + i] * scale * weight[i];
        }
    }

    static float rmsScale(float sumOfSquares, int count, float epsilon) {
        return (float) (1.0 / Math.sqrt((double) sumOfSquares / count + epsilon));
    }

    @Override
    public void rotate(float[] x, int from, int headDim, float[] cos, float[] sin, int tableFrom) {
        int half = headDim / 2;
        for (int i = 0; i < half; i++) {
            float first = x[from + i];
            float second = x[from + half + i];
            float c = cos[tableFrom + i];
            float s = sin[tableFrom + i];
            x[from + i] = Math.fma(first, c, -(second * s));
            x[from + half + i] = Math.fma(second, c, first * s);
        }
    }

    @Override
    public void siluMultiply(float[] x, int gateFrom, int upFrom, int count, float[] out, int outFrom) {
        for (int i = 0; i < count; i++) {
            float gate = x[gateFrom + i];
            out[outFrom + i] = gate / (1f + Exp.exp(-gate)) * x[upFrom + i];
        }
    }

    @Override
    public void add(float[] x, int from, float[] y, int yFrom, int count) {
        for (int i = 0; i < count; i++) {
            x[from + i] += y[yFrom + i];
        }
    }

    @Override
    public void scale(float[] x, int from, int count, float factor, float[] out, int outFrom) {
        for (int i = 0; i < count; i++) {
            out[outFrom + i] = x[from + i] * factor;
        }
    }
}
