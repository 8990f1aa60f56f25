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
// Launch: any grid, best as many blocks as the chip holds at once; block 128, shared memory
// STAGES * WARPS * 2 * TILE * (HEAD_DIM + 8) * 2 bytes. heads / kvHeads <= 16, sequences <= 512, blockTokens a multiple of
// 16. partial is (slots, heads, HEAD_DIM) f32 and partialMeta (slots, heads, 2) f32 with a slot for each split of each
// sequence; counters, (2 + sequences * kvHeads) int32, are zero before and after. These three belong to one stream. With
// programmatic dependent launch the predecessor may write the last token of the contexts and the queries, nothing else
// that is read here.
//
// A block takes its first two items by its number and the others from a counter, and copies the first tiles of the next
// item while it merges: the memory never waits.
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
#define STAGE_BYTES (2 * TILE_ELEMENTS * 2) // keys and values of a tile
#define STEPS (HEAD_DIM / 16)  // of the product over a head
#define COLUMNS (HEAD_DIM / 8) // tiles of 8 output columns
#define MAX_SEQUENCES 512
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
// `scratch` is room for 16 rows of the first warp, that of the next one is `stride` floats on.
__device__ void mergeWarps(const Running& running, float* scratch, int stride, int group, float* part, float* partMeta,
        bf16* result) {
    __shared__ float highest[WARPS][16];
    __shared__ float sums[WARPS][16];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float* mine = scratch + warp * stride;
    __syncwarp(); // all lanes are done with the tile that becomes scratch
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

// An item of work as one warp sees it, which looks at tiles warp, warp + 4, ... of its tokens.
struct Item {
    int sequence;
    int slot;
    int kvHead;
    int context;
    int begin;   // a multiple of SPLIT_TOKENS
    int end;     // past the last token of the item; 0 for no item
    int myBlock; // lane t: the block of this warp's tile t
};

struct Pool {
    const bf16* layer;
    long long blockStride;
    int kvHeads;
    int blockTokens;
};

__device__ __forceinline__ Item describe(int number, int sequences, const int* firstSlot, const int* contexts,
        const int* __restrict__ blockTables, int maxBlocks, const Pool& pool, int window) {
    Item item;
    item.slot = number / pool.kvHeads;
    item.kvHead = number % pool.kvHeads;
    item.sequence = 0;
    item.context = item.begin = item.end = item.myBlock = 0;
    if (item.slot >= firstSlot[sequences]) {
        return item;
    }
    for (int low = 0, high = sequences; low < high;) { // the last sequence whose first slot is not above
        int middle = (low + high) / 2;
        if (firstSlot[middle] <= item.slot) {
            item.sequence = middle;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    item.context = contexts[item.sequence];
    int split = windowStart(item.context, window) / SPLIT_TOKENS + item.slot - firstSlot[item.sequence];
    item.begin = split * SPLIT_TOKENS;
    item.end = min(item.context, item.begin + SPLIT_TOKENS);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int myToken = item.begin + (lane * WARPS + warp) * TILE;
    item.myBlock = lane < TILES_PER_WARP && myToken < item.end
            ? blockTables[(long long) item.sequence * maxBlocks + myToken / pool.blockTokens]
            : 0;
    return item;
}

__device__ __forceinline__ void fetchTile(const Pool& pool, const Item& item, int tile, u32 target) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int token = item.begin + (tile * WARPS + warp) * TILE;
    if (token < item.end) {
        long long block = __shfl_sync(FULL_WARP, item.myBlock, tile);
        const bf16* keys = pool.layer + block * pool.blockStride
                + (item.kvHead * pool.blockTokens + token % pool.blockTokens) * HEAD_DIM;
        long long valueOffset = (long long) pool.kvHeads * pool.blockTokens * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int chunk = i * 32 + lane;
            int row = chunk / COLUMNS, part = chunk % COLUMNS;
            // Rows behind the context are zeros: whatever lies in the block could be NaN.
            bool valid = token + row < item.end;
            const bf16* source = keys + row * HEAD_DIM + part * 8;
            u32 place = target + (row * PITCH + part * 8) * 2;
            copyAsync16(place, source, valid);
            copyAsync16(place + TILE_ELEMENTS * 2, source + valueOffset, valid);
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

// Takes up splits warp, warp + 4, ... of some heads that other blocks have written.
__device__ __forceinline__ void mergeSplits(Running& running, const float* partial, const float* partialMeta,
        int firstSlot, int splits, int heads, int firstHead, int group) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    clear(running);
#pragma unroll 2
    for (int split = warp; split < splits; split += WARPS) {
        long long from = (long long) (firstSlot + split) * heads + firstHead;
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
                    running.out[column][half * 2] = running.out[column][half * 2] * mine + values.x * theirs;
                    running.out[column][half * 2 + 1] = running.out[column][half * 2 + 1] * mine + values.y * theirs;
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
        paged_decode(const bf16* q, long long qStride, const bf16* kvLayer,
                long long blockStride, const int* __restrict__ blockTables, int maxBlocks,
                const int* __restrict__ contextTokens, bf16* __restrict__ out, long long outStride, float* partial,
                float* partialMeta, int* counters, int sequences, int heads, int kvHeads, int blockTokens, float scale,
                int window) {
    extern __shared__ __align__(16) char shared[];
    __shared__ int firstSlot[MAX_SEQUENCES + 1];
    __shared__ int contexts[MAX_SEQUENCES];
    __shared__ int upcoming;
    __shared__ int isLast;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int group = heads / kvHeads;
    int* taken = counters;
    int* finished = counters + 1;
    int* arrived = counters + 2;

    if (warp == 0) {
        int slots = 0;
        for (int base = 0; base < sequences; base += 32) {
            int context = base + lane < sequences ? contextTokens[base + lane] : 0;
            int mine = countSplits(context, window);
            int upTo = mine;
#pragma unroll
            for (int distance = 1; distance < 32; distance *= 2) {
                int below = __shfl_up_sync(FULL_WARP, upTo, distance);
                upTo += lane >= distance ? below : 0;
            }
            if (base + lane < sequences) {
                firstSlot[base + lane] = slots + upTo - mine;
                contexts[base + lane] = context;
            }
            slots += __shfl_sync(FULL_WARP, upTo, 31);
        }
        if (lane == 0) {
            firstSlot[sequences] = slots;
        }
    }
    __syncthreads();

    Pool pool = {kvLayer, blockStride, kvHeads, blockTokens};
    u32 stages = sharedAddress(shared) + warp * STAGES * STAGE_BYTES;
    int items = firstSlot[sequences] * kvHeads;
    int number = blockIdx.x, nextNumber = number + gridDim.x;
    Item item = describe(number, sequences, firstSlot, contexts, blockTables, maxBlocks, pool, window);
    bool early = item.end < item.context; // nothing of it is of the predecessor
    if (!early) {
        waitForPredecessor();
    }
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        fetchTile(pool, item, stage, stages + stage * STAGE_BYTES);
    }
    if (early) {
        waitForPredecessor();
    }
    releaseSuccessor();
    for (int sequence = blockIdx.x; sequence < sequences; sequence += gridDim.x) {
        if (contexts[sequence] <= 0) {
            for (int at = threadIdx.x * 2; at < heads * HEAD_DIM; at += WARPS * 32 * 2) {
                *(u32*) (out + sequence * outStride + at) = 0;
            }
        }
    }

    int stage = 0;
    while (number < items) {
        int claimed = threadIdx.x == 0 && nextNumber < items ? 2 * gridDim.x + atomicAdd(taken, 1) : items;
        Item next = describe(nextNumber, sequences, firstSlot, contexts, blockTables, maxBlocks, pool, window);
        const bf16* queries = q + item.sequence * qStride + (long long) item.kvHead * group * HEAD_DIM;
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
        int firstToken = windowStart(item.context, window);
        int last = 0;
#pragma unroll 1
        for (int tile = 0; tile < TILES_PER_WARP; tile++) {
            int free = stage == 0 ? STAGES - 1 : stage - 1; // read in the last round, free after this wait
            waitForCopies<STAGES - 2>();
            __syncwarp();
            int ahead = tile + STAGES - 1;
            if (ahead < TILES_PER_WARP) {
                fetchTile(pool, item, ahead, stages + free * STAGE_BYTES);
            } else {
                fetchTile(pool, next, ahead - TILES_PER_WARP, stages + free * STAGE_BYTES);
            }
            int token = item.begin + (tile * WARPS + warp) * TILE;
            if (token < item.end) {
                attendTile(running, queryWords, stages + stage * STAGE_BYTES, token, firstToken, item.end,
                        scale * LOG2_E);
            }
            last = stage;
            stage = stage == STAGES - 1 ? 0 : stage + 1;
        }

        if (threadIdx.x == 0) {
            upcoming = claimed; // not where it was asked for: nobody waits for the answer
        }
        // The stage of the last tile is free until the next item's first round.
        float* scratch = (float*) (shared + last * STAGE_BYTES);
        int stride = STAGES * STAGE_BYTES / 4;
        int splits = firstSlot[item.sequence + 1] - firstSlot[item.sequence];
        bf16* result = out + item.sequence * outStride + (long long) item.kvHead * group * HEAD_DIM;
        if (splits == 1) {
            mergeWarps(running, scratch, stride, group, 0, 0, result);
        } else {
            long long row = (long long) item.slot * heads + item.kvHead * group;
            mergeWarps(running, scratch, stride, group, partial + row * HEAD_DIM, partialMeta + row * 2, result);
            __syncthreads();
            if (threadIdx.x == 0) {
                int* counter = arrived + item.sequence * kvHeads + item.kvHead;
                __threadfence();
                isLast = atomicAdd(counter, 1) == splits - 1;
                if (isLast) {
                    *counter = 0;
                }
                __threadfence();
            }
            __syncthreads();
            if (isLast) {
                mergeSplits(running, partial, partialMeta, firstSlot[item.sequence], splits, heads,
                        item.kvHead * group, group);
                mergeWarps(running, scratch, stride, group, 0, 0, result);
            }
        }
        number = nextNumber;
        nextNumber = upcoming;
        item = next;
        __syncthreads(); // scratch and the next number are read before they are written again
    }
    waitForCopies<0>();
    if (threadIdx.x == 0 && items > (int) gridDim.x) {
        __threadfence();
        if (atomicAdd(finished, 1) == (int) gridDim.x - 1) {
            *taken = 0;
            *finished = 0;
        }
    }
}
