// The end of a step on the device: the likeliest token of each row of logits.

#include "common.cuh"

#define THREADS 1024
#define NOT_FINITE (-1)

struct Best {
    float value;
    int token;
};

__device__ __forceinline__ void consider(Best& best, float value, int token) {
    if (value > best.value || (value == best.value && token < best.token)) {
        best.value = value;
        best.token = token;
    }
}

__device__ __forceinline__ bool isFinite(float value) {
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

// tokens[row] = the lowest id among the highest of logits (rows, vocab), f32, or -1 if one of them is NaN or infinite.
//
// Launch: grid (rows), block 1024. Stateless.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
        argmax(const float* logits, int* __restrict__ tokens, int vocab) {
    __shared__ Best bests[THREADS / 32];
    waitForPredecessor();
    releaseSuccessor();
    const float* row = logits + (long long) blockIdx.x * vocab;
    Best best = {NEGATIVE_INFINITY, 0x7fffffff};
    bool finite = true;
    if (vocab % 4 == 0) {
        const float4* vectors = (const float4*) row;
#pragma unroll 8
        for (int i = threadIdx.x; i < vocab / 4; i += THREADS) {
            float4 values = vectors[i];
            finite = finite && isFinite(values.x) && isFinite(values.y) && isFinite(values.z) && isFinite(values.w);
            consider(best, values.x, i * 4);
            consider(best, values.y, i * 4 + 1);
            consider(best, values.z, i * 4 + 2);
            consider(best, values.w, i * 4 + 3);
        }
    } else {
#pragma unroll 4
        for (int i = threadIdx.x; i < vocab; i += THREADS) {
            finite = finite && isFinite(row[i]);
            consider(best, row[i], i);
        }
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        float value = __shfl_xor_sync(FULL_WARP, best.value, distance);
        int token = __shfl_xor_sync(FULL_WARP, best.token, distance);
        consider(best, value, token);
    }
    if (threadIdx.x % 32 == 0) {
        bests[threadIdx.x / 32] = best;
    }
    finite = __syncthreads_and(finite);
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < THREADS / 32; warp++) {
            consider(best, bests[warp].value, bests[warp].token);
        }
        tokens[blockIdx.x] = finite ? best.token : NOT_FINITE;
    }
}
