// Causal attention of the query rows of several sequences over their paged context, on tensor cores of Ampere and later,
// any head size that is a multiple of 16. attention_prefill_sm90.cu is the faster one for Hopper.
//
// Shapes: q rows of (heads, HEAD_DIM) at qStride, out rows of the same at outStride, bf16; the pool as in rope.cu. Rows
// queryStart[s] .. queryStart[s + 1] belong to sequence s, the last of them at position contextTokens[s] - 1; the keys
// and values of all contextTokens[s] tokens are in the pool already. With window > 0 a row at position p looks at tokens
// above p - window only. A block works on ROWS query rows of one head, a warp on 16 of them; a row's result does not
// depend on what else is in the batch.
//
// Launch: grid (heads, ceil(most rows of a sequence / ROWS), sequences), block 128, shared memory
// 4 * KEYS * (HEAD_DIM + 8) * 2 bytes. Stateless.
//
// Source: T. Dao, "FlashAttention-2" (2023).

#include "common.cuh"

#define WARPS 4
#define ROWS (16 * WARPS)
#define KEYS 64 // tokens in a step
#define PITCH (HEAD_DIM + 8)
#define TILE_BYTES (KEYS * PITCH * 2)
#define STEPS (HEAD_DIM / 16)
#define COLUMNS (HEAD_DIM / 8)
#define KEY_COLUMNS (KEYS / 8)

struct Pages {
    const bf16* keys; // of the key head in block 0
    const int* blocks;
    long long blockStride;
    long long valueOffset;
    int blockTokens;
    int context;
};

__device__ __forceinline__ void fetchKeys(const Pages& pages, int first, u32 target) {
#pragma unroll 4
    for (int chunk = threadIdx.x; chunk < KEYS * COLUMNS; chunk += WARPS * 32) {
        int row = chunk / COLUMNS, part = chunk % COLUMNS;
        int token = first + row;
        bool valid = token < pages.context;
        long long block = valid ? pages.blocks[token / pages.blockTokens] : 0;
        const bf16* source = pages.keys + block * pages.blockStride + (token % pages.blockTokens) * HEAD_DIM + part * 8;
        u32 place = target + (row * PITCH + part * 8) * 2;
        copyAsync16(place, source, valid);
        copyAsync16(place + TILE_BYTES, source + pages.valueOffset, valid);
    }
    commitCopies();
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
        paged_prefill(const bf16* q, long long qStride, const bf16* kvLayer,
                long long blockStride, const int* blockTables, int maxBlocks,
                const int* queryStart, const int* contextTokens, bf16* __restrict__ out,
                long long outStride, int heads, int kvHeads, int blockTokens, float scale, int window) {
    extern __shared__ __align__(16) char shared[];
    waitForPredecessor();
    releaseSuccessor();
    int head = blockIdx.x, sequence = blockIdx.z;
    int firstRow = queryStart[sequence];
    int rows = queryStart[sequence + 1] - firstRow;
    int tile = gridDim.y - 1 - blockIdx.y; // the longest work first
    if (tile * ROWS >= rows) {
        return;
    }
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Pages pages;
    pages.context = contextTokens[sequence];
    pages.keys = kvLayer + (long long) (head / (heads / kvHeads)) * blockTokens * HEAD_DIM;
    pages.blocks = blockTables + (long long) sequence * maxBlocks;
    pages.blockStride = blockStride;
    pages.valueOffset = (long long) kvHeads * blockTokens * HEAD_DIM;
    pages.blockTokens = blockTokens;
    int firstPosition = pages.context - rows + tile * ROWS;
    int lastPosition = min(firstPosition + ROWS, pages.context) - 1;
    int begin = window > 0 ? max(0, firstPosition - window + 1) / KEYS * KEYS : 0;

    u32 stages = sharedAddress(shared);
    fetchKeys(pages, begin, stages);

    const bf16* queries = q + (long long) firstRow * qStride + (long long) head * HEAD_DIM;
    u32 queryWords[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = tile * ROWS + warp * 16 + lane / 4 + i % 2 * 8;
            queryWords[step][i] =
                    row < rows ? *(const u32*) (queries + row * qStride + step * 16 + i / 2 * 8 + lane % 4 * 2) : 0;
        }
    }
    float highest[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY};
    float sums[2] = {};
    float sum[COLUMNS][4] = {};
    int stage = 0;
    for (int first = begin; first <= lastPosition; first += KEYS, stage ^= 1) {
        u32 keys = stages + stage * 2 * TILE_BYTES;
        waitForCopies<0>();
        __syncthreads(); // this step's tiles are there, and all are done with the other stage
        if (first + KEYS <= lastPosition) {
            fetchKeys(pages, first + KEYS, stages + (stage ^ 1) * 2 * TILE_BYTES);
        }
        float scores[KEY_COLUMNS][4] = {};
        u32 keyRow = keys + ((lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8) * 2;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
            for (int column = 0; column < KEY_COLUMNS; column += 2) {
                u32 words[4];
                loadMatrices(words, keyRow + column * 8 * PITCH * 2 + step * 32);
                multiplyAdd(scores[column], queryWords[step], words[0], words[1]);
                multiplyAdd(scores[column + 1], queryWords[step], words[2], words[3]);
            }
        }
        bool partly = first + KEYS - 1 > firstPosition || window > 0;
        u32 weights[KEY_COLUMNS][2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int position = firstPosition + warp * 16 + lane / 4 + half * 8;
            float top = highest[half];
#pragma unroll
            for (int column = 0; column < KEY_COLUMNS; column++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float value = scores[column][half * 2 + i] * (scale * LOG2_E);
                    if (partly) {
                        int token = first + column * 8 + lane % 4 * 2 + i;
                        bool seen = token <= position && (window <= 0 || token > position - window);
                        value = seen ? value : NEGATIVE_INFINITY;
                    }
                    scores[column][half * 2 + i] = value;
                    top = fmaxf(top, value);
                }
            }
            top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
            top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
            float base = top == NEGATIVE_INFINITY ? 0.0f : top;
            float factor = exp2Fast(highest[half] - base);
            highest[half] = top;
            sums[half] *= factor;
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                sum[column][half * 2] *= factor;
                sum[column][half * 2 + 1] *= factor;
            }
#pragma unroll
            for (int column = 0; column < KEY_COLUMNS; column++) {
                float left = exp2Fast(scores[column][half * 2] - base);
                float right = exp2Fast(scores[column][half * 2 + 1] - base);
                sums[half] += left + right;
                weights[column][half] = packPair(left, right);
            }
        }
        u32 valueRow = keys + TILE_BYTES + (lane % 16 * PITCH + lane / 16 * 8) * 2;
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            u32 a[4] = {weights[step * 2][0], weights[step * 2][1], weights[step * 2 + 1][0], weights[step * 2 + 1][1]};
#pragma unroll
            for (int column = 0; column < COLUMNS; column += 2) {
                u32 words[4];
                loadMatricesTransposed(words, valueRow + step * 16 * PITCH * 2 + column * 16);
                multiplyAdd(sum[column], a, words[0], words[1]);
                multiplyAdd(sum[column + 1], a, words[2], words[3]);
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = sums[half];
        total += __shfl_xor_sync(FULL_WARP, total, 1);
        total += __shfl_xor_sync(FULL_WARP, total, 2);
        int row = tile * ROWS + warp * 16 + lane / 4 + half * 8;
        if (row < rows) {
            bf16* target = out + (long long) (firstRow + row) * outStride + (long long) head * HEAD_DIM + lane % 4 * 2;
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                *(u32*) (target + column * 8) =
                        packPair(sum[column][half * 2] / total, sum[column][half * 2 + 1] / total);
            }
        }
    }
}
