// The normalisation of a row that a block of 256 threads has in registers, for norm.cu and peers.cu: vector `part` of
// thread t holds the values from 8 (256 part + t) on. The same bits wherever it is called. Once a kernel and row; the
// block must have met before the next one.

#include "common.cuh"

#define THREADS 256
#ifndef VECTORS
#define VECTORS 8 // of 8 values a thread
#endif

__device__ __forceinline__ void normalise(const uint4 (&parts)[VECTORS], const bf16* __restrict__ weight,
        bf16* __restrict__ out, int hidden, float eps) {
    __shared__ float warpSums[THREADS / 32];
    float squares = 0.0f;
#pragma unroll
    for (int part = 0; part < VECTORS; part++) {
        if ((part * THREADS + threadIdx.x) * 8 < hidden) {
            float values[8];
            unpack8(parts[part], values);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                squares += values[i] * values[i];
            }
        }
    }
    float scale = rsqrtf(blockSum<THREADS>(squares, warpSums) / hidden + eps);
#pragma unroll
    for (int part = 0; part < VECTORS; part++) {
        int at = (part * THREADS + threadIdx.x) * 8;
        if (at < hidden) {
            float values[8], weights[8];
            unpack8(parts[part], values);
            unpack8(*(const uint4*) (weight + at), weights);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                values[i] = values[i] * scale * weights[i];
            }
            *(uint4*) (out + at) = pack8(values);
        }
    }
}
