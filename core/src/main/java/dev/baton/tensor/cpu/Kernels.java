package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;

/// The loops that run on one thread. [ScalarKernels] defines what each one computes; [VectorKernels] gives the same
/// bits.
///
/// Stateless, so safe to use from several threads. Matrices are row-major: `from` is the index of the first
/// element, `stride` the distance from one row to the next, both in elements unless they are named bytes.
interface Kernels {
    /// What runs, for the banner.
    String description();

    /// Width that [PackedMatrix] shall be packed for.
    int lanes();

    /// Multiplies rows by one panel: `out[r][c] = sum over k of a[r][k] * w[k][c]`, for all columns of the
    /// panel, the filling ones included. Of an 8-bit panel the sums are over the integers, and each is
    /// multiplied by its column's scale at the end.
    void multiplyPanel(
            float[] a,
            int aFrom,
            int aStride,
            int rows,
            PackedMatrix w,
            int panel,
            float[] out,
            int outFrom,
            int outStride,
            MemorySegment scratch);

    /// Multiplies rows by an f32 matrix in off-heap memory: `out[r][c] = sum over k of a[r][k] * b[k][c]`.
    ///
    /// @param inner length of each sum
    /// @param columns columns of `b` and `out`
    /// @param accumulate whether the sum goes on from what is in `out`, or begins at zero
    void multiply(
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
            boolean accumulate);

    /// Reads elements as f32, which is exact for every type.
    ///
    /// @param target receives `count` floats from its byte `targetFromBytes` on
    void widen(
            MemorySegment source, long fromBytes, DType dtype, int count, MemorySegment target, long targetFromBytes);

    /// Writes f32 as elements of a type, each rounded to the nearest one, ties to the even one; what is too large
    /// becomes infinite, NaN stays NaN.
    void narrow(float[] x, int from, int count, DType dtype, MemorySegment target, long targetFromBytes);

    /// Copies rows of f32 from anywhere in `source` to the columns of `target`, from its beginning on.
    ///
    /// @param rowOffsetsBytes where each row begins
    /// @param columns elements of a row, and rows of `target`
    /// @param targetStride distance between two rows of `target`, at least `rows` rounded up to a multiple of
    ///     16; what stands in the columns from `rows` to there is undefined afterwards
    void transpose(
            MemorySegment source,
            long[] rowOffsetsBytes,
            int rows,
            int columns,
            MemorySegment target,
            int targetStride);

    /// Replaces scores by `exp(score - greatest score)` and returns the sum of these.
    ///
    /// @param partials scratch of [Sums#PARTIALS] floats
    float softmaxNumerators(float[] scores, int from, int count, float[] partials);

    /// `out = x / sqrt(mean(x^2) + epsilon) * weight`.
    ///
    /// @param partials scratch of [Sums#PARTIALS] floats
    void rmsNorm(
            float[] x, int from, int count, float[] weight, float epsilon, float[] out, int outFrom, float[] partials);

    /// Rotates one head in place, pairing the elements `i` and `i + headDim / 2` as Hugging Face's Llama does.
    void rotate(float[] x, int from, int headDim, float[] cos, float[] sin, int tableFrom);

    /// `out = gate / (1 + exp(-gate)) * up`.
    void siluMultiply(float[] x, int gateFrom, int upFrom, int count, float[] out, int outFrom);

    /// `x += y`.
    void add(float[] x, int from, float[] y, int yFrom, int count);

    /// `out = x * factor`.
    void scale(float[] x, int from, int count, float factor, float[] out, int outFrom);
}
