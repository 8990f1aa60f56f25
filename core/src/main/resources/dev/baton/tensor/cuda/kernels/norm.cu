// Root mean square normalisation of rows: out = x / sqrt(mean(x^2) + eps) * weight, (rows, hidden), bf16, sums in f32;
// and the same behind the addition to the residual stream, which is rounded to bf16 first, as what is stored.
//
// Launch: grid (rows), block 256. Hidden is a multiple of 8, at most 16384: a thread keeps its part of the row in
// registers, so that a row is read once. A row's sum runs in a fixed order. Stateless.
//
// Source: B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization" (2019).

#include "norm.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
        rms_norm(const bf16* x, const bf16* __restrict__ weight, bf16* __restrict__ out, int hidden,
                float eps) {
    waitForPredecessor();
    releaseSuccessor();
    const bf16* row = x + (long long) blockIdx.x * hidden;
    uint4 parts[VECTORS];
#pragma unroll
    for (int part = 0; part < VECTORS; part++) {
        int at = (part * THREADS + threadIdx.x) * 8;
        if (at < hidden) {
            parts[part] = *(const uint4*) (row + at);
        }
    }
    normalise(parts, weight, out + (long long) blockIdx.x * hidden, hidden, eps);
}

extern "C" __global__ void __launch_bounds__(THREADS)
        add_rms_norm(const bf16* delta, bf16* __restrict__ residual, const bf16* __restrict__ weight,
                bf16* __restrict__ out, int hidden, float eps) {
    waitForPredecessor();
    releaseSuccessor();
    long long start = (long long) blockIdx.x * hidden;
    uint4 parts[VECTORS];
#pragma unroll
    for (int part = 0; part < VECTORS; part++) {
        int at = (part * THREADS + threadIdx.x) * 8;
        if (at < hidden) {
            float values[8], deltas[8];
            unpack8(*(const uint4*) (residual + start + at), values);
            unpack8(*(const uint4*) (delta + start + at), deltas);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                values[i] += deltas[i];
            }
            parts[part] = pack8(values);
            *(uint4*) (residual + start + at) = parts[part];
        }
    }
    normalise(parts, weight, out + start, hidden, eps);
}
