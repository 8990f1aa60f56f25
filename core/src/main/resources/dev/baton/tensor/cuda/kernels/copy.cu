// Gathers pieces of paged blocks into one contiguous buffer, and scatters them back: piece i of the staging buffer is
// pieceBytes at pool + blockIds[i] * blockStrideBytes + pieceOffsetBytes. A piece is a whole block (offset 0), or one
// layer of it. Either side may be memory of a peer or pinned host memory.
//
// Launch: any grid (the kernel strides over it), block 256. All byte counts are multiples of 16. Scatter with distinct
// block ids. Stateless.

#include "common.cuh"

#define THREADS 256
#define UNROLL 4
#define SEGMENT (THREADS * UNROLL) // 16-byte vectors a block moves at once

template <bool GATHER>
__device__ __forceinline__ void copyPieces(char* pool, const int* blockIds, char* staging, int blocks,
        long long blockStrideBytes, long long pieceOffsetBytes, long long pieceBytes) {
    waitForPredecessor();
    releaseSuccessor();
    long long vectors = pieceBytes / 16;
    int segments = (int) ((vectors + SEGMENT - 1) / SEGMENT);
    long long units = (long long) blocks * segments;
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        int piece = (int) (unit / segments);
        long long from = (long long) (unit % segments) * SEGMENT + threadIdx.x;
        uint4* paged = (uint4*) (pool + blockIds[piece] * blockStrideBytes + pieceOffsetBytes);
        uint4* packed = (uint4*) (staging + piece * pieceBytes);
        const uint4* source = GATHER ? paged : packed;
        uint4* target = GATHER ? packed : paged;
        uint4 words[UNROLL];
#pragma unroll
        for (int i = 0; i < UNROLL; i++) {
            if (from + i * THREADS < vectors) {
                words[i] = source[from + i * THREADS];
            }
        }
#pragma unroll
        for (int i = 0; i < UNROLL; i++) {
            if (from + i * THREADS < vectors) {
                target[from + i * THREADS] = words[i];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
        gather_blocks(const void* pool, const int* blockIds, void* staging, int blocks,
                long long blockStrideBytes, long long pieceOffsetBytes, long long pieceBytes) {
    copyPieces<true>((char*) pool, blockIds, (char*) staging, blocks, blockStrideBytes, pieceOffsetBytes, pieceBytes);
}

extern "C" __global__ void __launch_bounds__(THREADS)
        scatter_blocks(void* pool, const int* blockIds, const void* staging, int blocks,
                long long blockStrideBytes, long long pieceOffsetBytes, long long pieceBytes) {
    copyPieces<false>((char*) pool, blockIds, (char*) staging, blocks, blockStrideBytes, pieceOffsetBytes, pieceBytes);
}
