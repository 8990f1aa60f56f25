// Fills an array with small pseudo-random bf16 numbers, uniform in [-scale, scale): element i is a function of the seed
// and i alone. For weights whose values do not matter.
//
// Launch: any grid (the kernel strides over it), block 256. Stateless.
//
// Source: the finaliser of SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014), one 64-bit word for 4 elements.

#include "common.cuh"

__device__ __forceinline__ u64 hash(u64 seed, u64 counter) {
    u64 word = seed + (counter + 1) * 0x9E3779B97F4A7C15ull;
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
    return word ^ (word >> 31);
}

extern "C" __global__ void __launch_bounds__(256)
        fill_dummy(bf16* __restrict__ out, long long count, unsigned long long seed, float scale) {
    waitForPredecessor();
    releaseSuccessor();
    long long stride = (long long) gridDim.x * 256;
    for (long long group = (long long) blockIdx.x * 256 + threadIdx.x; group * 8 < count; group += stride) {
        float values[8];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            u64 word = hash(seed, group * 2 + half);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                values[half * 4 + i] = ((float) (int) ((word >> (16 * i)) & 0xffff) - 32768.0f) * (scale / 32768.0f);
            }
        }
        if (group * 8 + 8 <= count) {
            *(uint4*) (out + group * 8) = pack8(values);
        } else {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (group * 8 + i < count) {
                    out[group * 8 + i] = toBf16(values[i]);
                }
            }
        }
    }
}
