// Takes rows of stacked queries, keys and values, (rows, (heads + 2 * kvHeads) * HEAD_DIM): optionally normalises each
// query and key head (Qwen 3), turns them by their position (rotary embedding, half-split as in Llama), leaves the
// queries in place and writes keys and values into the paged pool. Keys and values in the rows stay as they were.
//
// Pool of a layer: block b at kvLayer + b * blockStride, there (2, kvHeads, blockTokens, HEAD_DIM). The row of
// sequence s at position p belongs to block blockTables[s * maxBlocks + p / blockTokens]. A row with a negative
// position is padding: nothing is written for it.
//
// Launch: grid (rows, any: at most ceil((heads + 2 * kvHeads) / HEADS_AT_ONCE) have work), block 256, LANES threads a
// head, 16 bytes each. Few rows want all of them, many rows want 1. qNorm and kNorm are both given or both 0.
// Two rows must not have the same sequence and position. Stateless.
//
// Source: J. Su et al., "RoFormer" (2021); one kernel for rotation and store as in vLLM and TensorRT-LLM.

#include "common.cuh"

#define PARTS (HEAD_DIM / 8)
#define LANES (PARTS <= 2 ? 2 : PARTS <= 4 ? 4 : PARTS <= 8 ? 8 : PARTS <= 16 ? 16 : 32)
#define HALF_PARTS (PARTS / 2)
#define HEADS_AT_ONCE (256 / LANES)

extern "C" __global__ void __launch_bounds__(256)
        rotate_and_store(bf16* __restrict__ qkv, const bf16* __restrict__ qNorm, const bf16* __restrict__ kNorm,
                float eps, const float* __restrict__ cosSin, const int* positions,
                const int* rowSequence, const int* blockTables, int maxBlocks,
                bf16* __restrict__ kvLayer, long long blockStride, int heads, int kvHeads, int blockTokens) {
    waitForPredecessor();
    releaseSuccessor();
    int row = blockIdx.x;
    int position = positions[row];
    if (position < 0) {
        return;
    }
    int lane = threadIdx.x % LANES;
    bool isLower = lane < HALF_PARTS;
    int partner = (threadIdx.x & 31) - lane + (isLower ? lane + HALF_PARTS : lane - HALF_PARTS);
    int sequence = rowSequence == 0 ? row : rowSequence[row];
    long long block = blockTables[(long long) sequence * maxBlocks + position / blockTokens];
    bf16* stored = kvLayer + block * blockStride + position % blockTokens * HEAD_DIM + lane * 8;
    float cosines[8], sines[8];
    if (lane < PARTS) {
        const float4* angles =
                (const float4*) (cosSin + (long long) position * HEAD_DIM + (isLower ? lane : lane - HALF_PARTS) * 8);
        *(float4*) cosines = angles[0];
        *(float4*) (cosines + 4) = angles[1];
        *(float4*) sines = angles[HEAD_DIM / 8];
        *(float4*) (sines + 4) = angles[HEAD_DIM / 8 + 1];
    }

    int units = heads + 2 * kvHeads; // query heads, then key heads, then value heads
    for (int first = blockIdx.y * HEADS_AT_ONCE; first < units; first += gridDim.y * HEADS_AT_ONCE) {
        int unit = first + threadIdx.x / LANES;
        bool active = unit < units && lane < PARTS;
        bool isQuery = unit < heads;
        bool isValue = unit >= heads + kvHeads;
        bf16* place = qkv + ((long long) row * units + unit) * HEAD_DIM + lane * 8;
        uint4 words = active ? *(const uint4*) place : make_uint4(0, 0, 0, 0);
        float values[8];
        unpack8(words, values);

        const bf16* norm = isQuery ? qNorm : kNorm;
        if (qNorm != 0) {
            float squares = 0.0f;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                squares += values[i] * values[i];
            }
#pragma unroll
            for (int distance = LANES / 2; distance > 0; distance /= 2) {
                squares += __shfl_xor_sync(FULL_WARP, squares, distance);
            }
            if (!isValue && lane < PARTS) {
                float scale = rsqrtf(squares / HEAD_DIM + eps);
                float weights[8];
                unpack8(*(const uint4*) (norm + lane * 8), weights);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    values[i] *= scale * weights[i];
                }
            }
        }

        float others[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            others[i] = __shfl_sync(FULL_WARP, values[i], partner);
        }
        if (active && !isValue) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                values[i] = values[i] * cosines[i] + (isLower ? -others[i] : others[i]) * sines[i];
            }
            words = pack8(values);
        }
        if (active && isQuery) {
            *(uint4*) place = words;
        } else if (active) { // values follow the keys, kvHeads further on: the pool's order too
            *(uint4*) (stored + (long long) (unit - heads) * blockTokens * HEAD_DIM) = words;
        }
    }
}
