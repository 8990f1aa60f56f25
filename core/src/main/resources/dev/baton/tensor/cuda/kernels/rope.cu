// Takes rows of stacked queries, keys and values, (rows, (heads + 2 * kvHeads) * HEAD_DIM): optionally normalises each
// query and key head (Qwen 3), turns them by their position (rotary embedding, half-split as in Llama), leaves the
// queries in place and writes keys and values into the paged pool. Keys and values in the rows stay as they were.
//
// Pool of a layer: block b at kvLayer + b * blockStride, there (2, kvHeads, blockTokens, HEAD_DIM). The row of
// sequence s at position p belongs to block blockTables[s * maxBlocks + p / blockTokens]. A row with a negative
// position is padding: nothing is written for it.
//
// Launch: grid (rows, ceil((heads + 2 * kvHeads) / (256 / LANES))), block 256: LANES threads a head, 16 bytes each.
// Two rows must not have the same sequence and position. Stateless.
//
// Source: J. Su et al., "RoFormer" (2021); one kernel for rotation and store as in vLLM and TensorRT-LLM.

#include "common.cuh"

#define PARTS (HEAD_DIM / 8)
#define LANES (PARTS <= 2 ? 2 : PARTS <= 4 ? 4 : PARTS <= 8 ? 8 : PARTS <= 16 ? 16 : 32)
#define HALF_PARTS (PARTS / 2)

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
    int unit = blockIdx.y * (256 / LANES) + threadIdx.x / LANES; // query heads, then key heads, then value heads
    int lane = threadIdx.x % LANES;
    int units = heads + 2 * kvHeads;
    bool active = unit < units && lane < PARTS;
    bool isQuery = unit < heads;
    bool isValue = unit >= heads + kvHeads;
    bf16* place = qkv + ((long long) row * units + unit) * HEAD_DIM + lane * 8;
    uint4 words = active ? *(const uint4*) place : make_uint4(0, 0, 0, 0);
    float values[8];
    unpack8(words, values);

    const bf16* norm = isQuery ? qNorm : kNorm;
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        squares += values[i] * values[i];
    }
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        squares += __shfl_xor_sync(FULL_WARP, squares, distance);
    }
    if (norm != 0 && !isValue && lane < PARTS) {
        float scale = rsqrtf(squares / HEAD_DIM + eps);
        float weights[8];
        unpack8(*(const uint4*) (norm + lane * 8), weights);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            values[i] *= scale * weights[i];
        }
    }

    bool isLower = lane < HALF_PARTS;
    int partner = (threadIdx.x & 31) - lane + (isLower ? lane + HALF_PARTS : lane - HALF_PARTS);
    float others[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        others[i] = __shfl_sync(FULL_WARP, values[i], partner);
    }
    if (!active) {
        return;
    }
    if (!isValue) {
        const float* angles = cosSin + (long long) position * HEAD_DIM + (isLower ? lane : lane - HALF_PARTS) * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float sine = angles[HEAD_DIM / 2 + i];
            values[i] = values[i] * angles[i] + (isLower ? -others[i] : others[i]) * sine;
        }
        words = pack8(values);
    }
    if (isQuery) {
        *(uint4*) place = words;
        return;
    }
    int sequence = rowSequence == 0 ? row : rowSequence[row];
    int block = blockTables[(long long) sequence * maxBlocks + position / blockTokens];
    int head = unit - heads; // values follow the keys, kvHeads further on: the pool's order too
    *(uint4*) (kvLayer + block * blockStride + ((long long) head * blockTokens + position % blockTokens) * HEAD_DIM
            + lane * 8) = words;
}
