// Checksums of paged blocks: for each block the sum of its 64-bit words, each mixed with its place and the block's seed.
// DeviceChecksum.java is the same for the host. Integers only, and a sum, so that the order of threads does not matter.
//
//   block_sums(const void* pool, const int* blockIds, const u64* seeds, u64* sums, int blocks, long long partBytes,
//              long long blockBytes)
//
// Of a part of each block: `pool` is where that of block 0 begins, seeds are those of the part, and the sums of all parts
// of a block add up to that of the block. Launch: any grid (the kernel strides over it), block 256. partBytes is a
// multiple of 16; sums are zero before.

#include "common.cuh"

#define THREADS 256
#define UNROLL 4
#define SEGMENT (THREADS * UNROLL) // 16-byte vectors that are added up before they are given to the block's sum

__device__ __forceinline__ u64 mixed(u64 value) {
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCDull;
    value = (value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53ull;
    return value ^ (value >> 33);
}

__device__ __forceinline__ u64 word(u32 low, u32 high) { return (u64) high << 32 | low; }

extern "C" __global__ void __launch_bounds__(THREADS)
        block_sums(const void* pool, const int* blockIds, const u64* seeds, u64* sums, int blocks, long long partBytes,
                long long blockBytes) {
    const u64 step = 0x9E3779B97F4A7C15ull;
    long long vectors = partBytes / 16;
    int segments = (int) ((vectors + SEGMENT - 1) / SEGMENT);
    long long units = (long long) blocks * segments;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        int piece = (int) (unit / segments);
        long long from = (long long) (unit % segments) * SEGMENT + threadIdx.x;
        const uint4* block = (const uint4*) ((const char*) pool + blockIds[piece] * blockBytes);
        u64 seed = seeds[piece];
        u64 sum = 0;
        uint4 words[UNROLL];
#pragma unroll
        for (int i = 0; i < UNROLL; i++) {
            if (from + i * THREADS < vectors) {
                words[i] = block[from + i * THREADS];
            }
        }
#pragma unroll
        for (int i = 0; i < UNROLL; i++) {
            u64 vector = (u64) (from + i * THREADS);
            if (vector < vectors) {
                sum += mixed(word(words[i].x, words[i].y) + seed + (2 * vector + 1) * step);
                sum += mixed(word(words[i].z, words[i].w) + seed + (2 * vector + 2) * step);
            }
        }
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) {
            sum += __shfl_xor_sync(FULL_WARP, sum, distance);
        }
        if ((threadIdx.x & 31) == 0) {
            atomicAdd(sums + piece, sum);
        }
    }
}
