// Attention of one query row a sequence over its paged context, split over the context: every item of work is
// SPLIT_TOKENS tokens of one key head of one sequence. The heads / kvHeads query heads that share a key head are the
// rows of one tensor core tile, so that keys and values are read once. The last block to finish an item of a sequence's
// key head merges the parts, in the order of the context.
//
// Shapes: q rows of (heads, HEAD_DIM) at qStride, out rows of the same at outStride, bf16; the pool as in rope.cu;
// contextTokens counts the token of the query row, which is the last. Only tokens above contextTokens - 1 - window are
// looked at, if window > 0. A sequence without context gets zeros. An item's bounds depend on its sequence alone and
// every sum runs in a fixed order: a row's result does not depend on what else is in the batch, nor on the grid.
//
// Launch: any grid (a few blocks a multiprocessor; the items are dealt out in turn), block 128, shared memory
// STAGES * WARPS * 2 * TILE * (HEAD_DIM + 8) * 2 bytes. heads / kvHeads <= 16, sequences <= 1024, blockTokens a multiple
// of 16. partial is (slots, heads, HEAD_DIM) f32 and partialMeta (slots, heads, 2) f32 with a slot for each split of
// each sequence; counters, (sequences * kvHeads) int32, are zero before and after. These three belong to one stream.
//
// Sources: splitting the context, T. Dao et al., "Flash-Decoding" (2023); online softmax, M. Milakov, N. Gimelshein
// (2018); the query heads of a group as rows of one tile and work laid out over a fixed grid for CUDA graphs,
// Z. Ye et al., "FlashInfer" (2025); the last block merges, NVIDIA's threadFenceReduction sample.

#include "common.cuh"

#define WARPS 4
#ifndef STAGES
#define STAGES 3
#endif
#define TILE 16             // tokens a warp looks at together
#define PITCH (HEAD_DIM + 8) // elements between rows in shared memory: an odd number of 16-byte pieces, no bank conflict
#define TILE_ELEMENTS (TILE * PITCH)
#define STEPS (HEAD_DIM / 16)  // of the product over a head
#define COLUMNS (HEAD_DIM / 8) // tiles of 8 output columns
#define MAX_SEQUENCES 1024
#define TILES_PER_WARP (SPLIT_TOKENS / TILE / WARPS)
#define CHUNKS (TILE * COLUMNS / 32) // of 16 bytes a lane copies of a tile

// Running softmax of 16 query rows; a thread holds rows lane / 4 and lane / 4 + 8, as mma.sync lays them out.
struct Running {
    float highest[2]; // of the scores times scale * log2(e)
    float sum[2];     // of this thread's columns only, until the end
    float out[COLUMNS][4];
};

__device__ __forceinline__ void clear(Running& running) {
    running.highest[0] = running.highest[1] = NEGATIVE_INFINITY;
    running.sum[0] = running.sum[1] = 0.0f;
#pragma unroll
    for (int column = 0; column < COLUMNS; column++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            running.out[column][i] = 0.0f;
        }
    }
}

// The factor for what was summed below an older maximum; 1 where nothing was summed yet.
__device__ __forceinline__ float rescale(float older, float newer) {
    return newer == NEGATIVE_INFINITY ? 1.0f : exp2Fast(older - newer);
}

// The bounds of the splits of a sequence: with a window, those wholly in front of it are left out.
__device__ __forceinline__ int windowStart(int context, int window) {
    return window > 0 && context > window ? context - window : 0;
}

__device__ __forceinline__ int countSplits(int context, int window) {
    return context <= 0 ? 0
                        : (context + SPLIT_TOKENS - 1) / SPLIT_TOKENS - windowStart(context, window) / SPLIT_TOKENS;
}

// Merges the softmaxes of the four warps and writes the rows of the group, either as a part or as the result.
// `scratch` is room for 16 rows of every warp, `stride` floats a warp.
__device__ void mergeWarps(const Running& running, float* scratch, int stride, int group, float* part, float* partMeta,
        bf16* result) {
    __shared__ float highest[WARPS][16];
    __shared__ float sums[WARPS][16];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float* mine = scratch + warp * stride;
    __syncthreads(); // all warps are done with the shared memory that becomes scratch
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = lane / 4 + half * 8;
        float sum = running.sum[half];
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        if (row < group) {
            if (lane % 4 == 0) {
                highest[warp][row] = running.highest[half];
                sums[warp][row] = sum;
            }
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                *(float2*) (mine + row * HEAD_DIM + column * 8 + lane % 4 * 2) =
                        make_float2(running.out[column][half * 2], running.out[column][half * 2 + 1]);
            }
        }
    }
    __syncthreads();
    for (int at = threadIdx.x * 2; at < group * HEAD_DIM; at += WARPS * 32 * 2) {
        int row = at / HEAD_DIM;
        float top = NEGATIVE_INFINITY;
#pragma unroll
        for (int other = 0; other < WARPS; other++) {
            top = fmaxf(top, highest[other][row]);
        }
        float sum = 0.0f;
        float2 out = make_float2(0.0f, 0.0f);
#pragma unroll
        for (int other = 0; other < WARPS; other++) {
            float factor = rescale(highest[other][row], top);
            float2 theirs = *(float2*) (scratch + other * stride + at);
            sum += sums[other][row] * factor;
            out.x += theirs.x * factor;
            out.y += theirs.y * factor;
        }
        if (part != 0) {
            *(float2*) (part + at) = out;
            if (at % HEAD_DIM == 0) {
                *(float2*) (partMeta + row * 2) = make_float2(top, sum);
            }
        } else {
            *(u32*) (result + at) = packPair(out.x / sum, out.y / sum);
        }
    }
}

// What one warp sees of an item: tiles warp, warp + 4, ... of its tokens.
struct WarpTiles {
    const bf16* keys; // of the key head in block 0
    long long blockStride;
    long long valueOffset;
    int blockTokens;
    int begin; // of the item, a multiple of SPLIT_TOKENS
    int end;   // past the last token of the item
    int myBlock; // lane t: the block of this warp's tile t
};

__device__ __forceinline__ void fetchTile(const WarpTiles& tiles, int tile, u32 target) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int token = tiles.begin + (tile * WARPS + warp) * TILE;
    if (tile < TILES_PER_WARP && token < tiles.end) {
        long long block = __shfl_sync(FULL_WARP, tiles.myBlock, tile);
        const bf16* keys = tiles.keys + block * tiles.blockStride + (token % tiles.blockTokens) * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int chunk = i * 32 + lane;
            int row = chunk / COLUMNS, part = chunk % COLUMNS;
            // Rows behind the context are zeros: whatever lies in the block could be NaN.
            bool valid = token + row < tiles.end;
            const bf16* source = keys + row * HEAD_DIM + part * 8;
            u32 place = target + (row * PITCH + part * 8) * 2;
            copyAsync16(place, source, valid);
            copyAsync16(place + TILE_ELEMENTS * 2, source + tiles.valueOffset, valid);
        }
    }
    commitCopies(); // an empty group too: the count of groups is what is waited for
}

__device__ __forceinline__ void attendTile(Running& running, const u32 (&q)[STEPS][4], u32 tile, int token, int first,
        int end, float scale) {
    int lane = threadIdx.x % 32;
    float scores[2][4] = {};
    u32 keyRow = tile + ((lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8) * 2;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        u32 keys[4];
        loadMatrices(keys, keyRow + step * 32);
        multiplyAdd(scores[0], q[step], keys[0], keys[1]);
        multiplyAdd(scores[1], q[step], keys[2], keys[3]);
    }
    u32 weights[4];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float values[4];
        float top = running.highest[half];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int at = token + i / 2 * 8 + lane % 4 * 2 + i % 2;
            values[i] = at >= first && at < end ? scores[i / 2][half * 2 + i % 2] * scale : NEGATIVE_INFINITY;
            top = fmaxf(top, values[i]);
        }
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
        if (__any_sync(FULL_WARP, top > running.highest[half])) {
            float factor = rescale(running.highest[half], top);
            running.highest[half] = top;
            running.sum[half] *= factor;
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                running.out[column][half * 2] *= factor;
                running.out[column][half * 2 + 1] *= factor;
            }
        }
        float base = top == NEGATIVE_INFINITY ? 0.0f : top;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            values[i] = exp2Fast(values[i] - base);
            running.sum[half] += values[i];
        }
        weights[half] = packPair(values[0], values[1]);
        weights[half + 2] = packPair(values[2], values[3]);
    }
    u32 valueRow = tile + TILE_ELEMENTS * 2 + (lane % 16 * PITCH + lane / 16 * 8) * 2;
#pragma unroll
    for (int column = 0; column < COLUMNS; column += 2) {
        u32 values[4];
        loadMatricesTransposed(values, valueRow + column * 16);
        multiplyAdd(running.out[column], weights, values[0], values[1]);
        multiplyAdd(running.out[column + 1], weights, values[2], values[3]);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
        paged_decode(const bf16* __restrict__ q, long long qStride, const bf16* __restrict__ kvLayer,
                long long blockStride, const int* __restrict__ blockTables, int maxBlocks,
                const int* __restrict__ contextTokens, bf16* __restrict__ out, long long outStride, float* partial,
                float* partialMeta, int* counters, int sequences, int heads, int kvHeads, int blockTokens, float scale,
                int window) {
    extern __shared__ __align__(16) char shared[];
    __shared__ int firstSlot[MAX_SEQUENCES + 1];
    __shared__ int isLast;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int group = heads / kvHeads;
    waitForPredecessor();
    releaseSuccessor();

    if (warp == 0) {
        int slots = 0;
        for (int base = 0; base < sequences; base += 32) {
            int mine = base + lane < sequences ? countSplits(contextTokens[base + lane], window) : 0;
            int upTo = mine;
#pragma unroll
            for (int distance = 1; distance < 32; distance *= 2) {
                int below = __shfl_up_sync(FULL_WARP, upTo, distance);
                upTo += lane >= distance ? below : 0;
            }
            if (base + lane < sequences) {
                firstSlot[base + lane] = slots + upTo - mine;
            }
            slots += __shfl_sync(FULL_WARP, upTo, 31);
        }
        if (lane == 0) {
            firstSlot[sequences] = slots;
        }
    }
    __syncthreads();
    for (int sequence = blockIdx.x; sequence < sequences; sequence += gridDim.x) {
        if (contextTokens[sequence] <= 0) {
            for (int at = threadIdx.x * 2; at < heads * HEAD_DIM; at += WARPS * 32 * 2) {
                *(u32*) (out + sequence * outStride + at) = 0;
            }
        }
    }

    u32 stages = sharedAddress(shared) + warp * STAGES * 2 * TILE_ELEMENTS * 2;
    int items = firstSlot[sequences] * kvHeads;
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
        int slot = item / kvHeads, kvHead = item % kvHeads;
        int sequence = 0;
        for (int low = 0, high = sequences; low < high;) { // the last sequence whose first slot is not above
            int middle = (low + high) / 2;
            if (firstSlot[middle] <= slot) {
                sequence = middle;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        int context = contextTokens[sequence];
        int splits = firstSlot[sequence + 1] - firstSlot[sequence];
        int firstToken = windowStart(context, window);
        WarpTiles tiles;
        tiles.begin = (firstToken / SPLIT_TOKENS + slot - firstSlot[sequence]) * SPLIT_TOKENS;
        tiles.end = min(context, tiles.begin + SPLIT_TOKENS);
        tiles.keys = kvLayer + (long long) kvHead * blockTokens * HEAD_DIM;
        tiles.valueOffset = (long long) kvHeads * blockTokens * HEAD_DIM;
        tiles.blockStride = blockStride;
        tiles.blockTokens = blockTokens;
        int myToken = tiles.begin + (lane * WARPS + warp) * TILE;
        tiles.myBlock = lane < TILES_PER_WARP && myToken < tiles.end
                ? blockTables[(long long) sequence * maxBlocks + myToken / blockTokens]
                : 0;
#pragma unroll
        for (int stage = 0; stage < STAGES - 1; stage++) {
            fetchTile(tiles, stage, stages + stage * 2 * TILE_ELEMENTS * 2);
        }

        const bf16* queries = q + sequence * qStride + (long long) kvHead * group * HEAD_DIM;
        u32 queryWords[STEPS][4];
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = lane / 4 + i % 2 * 8;
                queryWords[step][i] = row < group
                        ? *(const u32*) (queries + row * HEAD_DIM + step * 16 + i / 2 * 8 + lane % 4 * 2)
                        : 0;
            }
        }
        Running running;
        clear(running);
        int stage = 0;
        for (int tile = 0; tile < TILES_PER_WARP; tile++) {
            int token = tiles.begin + (tile * WARPS + warp) * TILE;
            if (token >= tiles.end) {
                break;
            }
            int next = stage == 0 ? STAGES - 1 : stage - 1; // read in the last round, free after this wait
            waitForCopies<STAGES - 2>();
            __syncwarp();
            fetchTile(tiles, tile + STAGES - 1, stages + next * 2 * TILE_ELEMENTS * 2);
            attendTile(running, queryWords, stages + stage * 2 * TILE_ELEMENTS * 2, token, firstToken, tiles.end,
                    scale * LOG2_E);
            stage = stage == STAGES - 1 ? 0 : stage + 1;
        }
        waitForCopies<0>();

        float* scratch = (float*) shared;
        int stride = STAGES * 2 * TILE_ELEMENTS / 2;
        bf16* result = out + sequence * outStride + (long long) kvHead * group * HEAD_DIM;
        long long row = (long long) slot * heads + kvHead * group;
        bool whole = splits == 1;
        mergeWarps(running, scratch, stride, group, whole ? 0 : partial + row * HEAD_DIM, partialMeta + row * 2, result);
        if (!whole) {
            __threadfence();
            __syncthreads();
            if (threadIdx.x == 0) {
                isLast = atomicAdd(counters + sequence * kvHeads + kvHead, 1) == splits - 1;
            }
            __syncthreads();
            if (isLast) {
                __threadfence();
                clear(running);
                for (int split = warp; split < splits; split += WARPS) {
                    long long from = (long long) (firstSlot[sequence] + split) * heads + kvHead * group;
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        int member = lane / 4 + half * 8;
                        if (member < group) {
                            float2 meta = __ldcg((const float2*) (partialMeta + (from + member) * 2));
                            float top = fmaxf(running.highest[half], meta.x);
                            float mine = rescale(running.highest[half], top);
                            float theirs = rescale(meta.x, top);
                            running.highest[half] = top;
                            // Only one thread of the four of a row counts the sum: they are added up later.
                            running.sum[half] = running.sum[half] * mine + (lane % 4 == 0 ? meta.y * theirs : 0.0f);
                            const float* part = partial + (from + member) * HEAD_DIM + lane % 4 * 2;
#pragma unroll
                            for (int column = 0; column < COLUMNS; column++) {
                                float2 values = __ldcg((const float2*) (part + column * 8));
                                running.out[column][half * 2] =
                                        running.out[column][half * 2] * mine + values.x * theirs;
                                running.out[column][half * 2 + 1] =
                                        running.out[column][half * 2 + 1] * mine + values.y * theirs;
                            }
                        }
                    }
                }
                mergeWarps(running, scratch, stride, group, 0, 0, result);
                if (threadIdx.x == 0) {
                    counters[sequence * kvHeads + kvHead] = 0;
                }
            }
        }
        __syncthreads(); // the scratch is read before the next item's copies land in it
    }
}
