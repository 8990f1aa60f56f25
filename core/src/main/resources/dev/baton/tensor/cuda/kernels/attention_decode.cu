// Attention of one query row a sequence over its paged context, split over the context: an item of work is SPLIT_TOKENS
// tokens of one key head of one sequence. The heads / kvHeads query heads that share a key head are the rows of one
// tensor core tile, so that keys and values are read once. The last block to finish an item of a sequence's key head
// merges the parts, in the order of the context.
//
// Shapes: q rows of (heads, HEAD_DIM) at qStride, out rows of the same at outStride, bf16; the pool as in rope.cu;
// contextTokens counts the token of the query row, which is the last. Only tokens above contextTokens - 1 - window are
// looked at, if window > 0. A sequence without context gets zeros. An item's bounds depend on its sequence alone and
// every sum runs in a fixed order: a row's result does not depend on what else is in the batch, nor on the grid.
//
// Roles: four warps attend; the fifth hands out items, loads their queries, puts the four results together, writes them
// and, where all parts of a head are there, merges these. The four go on with the next item, whose first tiles are under
// way by then, without waiting for any of that. A block takes its first two items by its number, the others from a
// counter.
//
// Macros: HEAD_DIM, a multiple of 16 up to 256; SPLIT_TOKENS, a multiple of 64 up to 2048, the unit of the results' order
// of sums; DECODE_STAGES, 2 or more tiles of shared memory a warp.
//
// Launch: any grid, best as many blocks as the chip holds at once; block 160, shared memory DECODE_STAGES * STAGE_BYTES
// * 4 + heads / kvHeads * (18 * HEAD_DIM + 16) bytes. heads / kvHeads <= 16, sequences <= 256, slots <= 65535,
// blockTokens a power of two from 16 on. partial is (slots, heads, HEAD_DIM) f32 and partialMeta (slots, heads, 2) f32
// with a slot for each split of each sequence; counters, (2 + sequences * kvHeads) int32, are zero before and after.
// These three belong to one stream. With programmatic dependent launch the predecessor may write the last token of the
// contexts and the queries, nothing else that is read here.
//
// Sources: splitting the context, T. Dao et al., "Flash-Decoding" (2023); online softmax, M. Milakov, N. Gimelshein
// (2018); the query heads of a group as rows of one tile and work laid out over a fixed grid for CUDA graphs,
// Z. Ye et al., "FlashInfer" (2025); the last block merges, NVIDIA's threadFenceReduction sample.

#include "common.cuh"
#include "attention_decode.cuh"

#ifndef DECODE_STAGES
#define DECODE_STAGES 2
#endif
#define TILE 16              // tokens a warp looks at together
#define PITCH (HEAD_DIM + 8) // elements between rows in shared memory: an odd number of 16-byte pieces, no bank conflict
#define TILE_BYTES (TILE * PITCH * 2)
#define STAGE_BYTES (2 * TILE_BYTES) // keys and values of a tile
#define STEPS (HEAD_DIM / 16)  // of the product over a head
#if SPLIT_TOKENS % 64 != 0 || SPLIT_TOKENS > 2048
#error "SPLIT_TOKENS must be a multiple of 64 up to 2048: a lane of a warp looks up the block of one of its tiles"
#endif
#define TILES (SPLIT_TOKENS / TILE)
#define TILES_PER_WARP (TILES / WARPS)
#define CHUNKS (TILE * COLUMNS / 32) // of 16 bytes a lane copies of a tile
#define ATTENDING_AND_MERGING ((WARPS + 1) * 32)

// Named barriers between the four warps and the fifth.
#define SCRATCH_FULL 1
#define SCRATCH_FREE 2

__device__ __forceinline__ void meet(int barrier) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(ATTENDING_AND_MERGING) : "memory");
}

__device__ __forceinline__ void announce(int barrier) {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(ATTENDING_AND_MERGING) : "memory");
}

struct Pool {
    const bf16* layer;
    long long blockStride;
    int kvHeads;
    int blockTokens;
};

// The block that holds the `tile`-th TILE tokens of an item, if it has as many.
__device__ __forceinline__ int blockOfTile(const Item& item, const Batch& batch, int blockTokens, int tile) {
    int token = item.begin + tile * TILE;
    return tile < TILES && token < item.end
            ? batch.blockTables[(long long) item.sequence * batch.maxBlocks + token / blockTokens]
            : 0;
}

__device__ __forceinline__ void fetchTile(const Pool& pool, const Item& item, int blocks, int tile, u32 target) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int token = item.begin + (tile * WARPS + warp) * TILE;
    if (token < item.end) {
        long long block = __shfl_sync(FULL_WARP, blocks, tile);
        const bf16* keys = pool.layer + block * pool.blockStride
                + (item.kvHead * pool.blockTokens + (token & (pool.blockTokens - 1))) * HEAD_DIM + lane * 8;
        long long valueOffset = (long long) pool.kvHeads * pool.blockTokens * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int chunk = i * 32 + lane;
            int row = chunk / COLUMNS, part = chunk % COLUMNS;
            // Rows behind the context are zeros: whatever lies in the block could be NaN.
            bool valid = token + row < item.end;
            u32 place = target + (row * PITCH + part * 8) * 2;
            copyAsync16(place, keys + i * 256, valid);
            copyAsync16(place + TILE_BYTES, keys + i * 256 + valueOffset, valid);
        }
    }
    commitCopies(); // an empty group too: the count of groups is what is waited for
}

__device__ __forceinline__ void attendTile(Running& running, const u32 (&q)[STEPS][4], u32 tile, int token, int first,
        int end, int group, float scale) {
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
    u32 weights[4] = {};
    weigh(running, scores, weights, group, scale, [&](int i) {
        int at = token + i / 2 * 8 + lane % 4 * 2 + i % 2;
        return at >= first && at < end;
    });
    u32 valueRow = tile + TILE_BYTES + (lane % 16 * PITCH + lane / 16 * 8) * 2;
#pragma unroll
    for (int column = 0; column < COLUMNS; column += 2) {
        u32 values[4];
        loadMatricesTransposed(values, valueRow + column * 16);
        multiplyAdd(running.out[column], weights, values[0], values[1]);
        multiplyAdd(running.out[column + 1], weights, values[2], values[3]);
    }
}

// What the four warps leave for the fifth, and it for them.
struct Scratch {
    Parts parts;
    Item upcoming; // the item after the next one
    int blocks[TILES];
    int isLast; // the block's last item completed its head
};

__device__ __forceinline__ void leaveResult(const Running& running, Scratch& scratch, float* outs, int group) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = lane / 4 + half * 8;
        float sum = running.sum[half];
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        if (row < group) {
            if (lane % 4 == 0) {
                scratch.parts.highest[warp][row] = running.highest[half];
                scratch.parts.sums[warp][row] = sum;
            }
            float* mine = outs + (warp * group + row) * HEAD_DIM + lane % 4 * 2;
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                *(float2*) (mine + column * 8) =
                        make_float2(running.out[column][half * 2], running.out[column][half * 2 + 1]);
            }
        }
    }
}

// By one warp: copies the queries of an item's group into shared memory.
__device__ __forceinline__ void loadQueries(const bf16* q, long long qStride, const Item& item, int group, bf16* target) {
    const bf16* source = q + item.sequence * qStride + (long long) item.kvHead * group * HEAD_DIM;
    for (int chunk = threadIdx.x % 32; chunk < group * COLUMNS; chunk += 32) {
        copyAsync16(sharedAddress(target + chunk / COLUMNS * PITCH + chunk % COLUMNS * 8), source + chunk * 8, true);
    }
    commitCopies();
}

// Adds to a counter behind everything this warp wrote, as the others will see it, and sees what they wrote before theirs.
__device__ __forceinline__ int addAcquireRelease(int* counter, int amount) {
    int before;
    asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(amount) : "memory");
    return before;
}

// By one warp: counts an item whose parts this warp wrote, and says whether all of its key head's are there now.
__device__ __forceinline__ bool isComplete(const Item& item, int* arrived, const unsigned short* firstSlot, int kvHeads) {
    int complete = 0;
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        int* counter = arrived + item.sequence * kvHeads + item.kvHead;
        int splits = firstSlot[item.sequence + 1] - firstSlot[item.sequence];
        complete = addAcquireRelease(counter, 1) == splits - 1;
        if (complete) {
            *counter = 0;
        }
    }
    complete = __shfl_sync(FULL_WARP, complete, 0);
    __syncwarp();
    return complete;
}

// In lane 0: the number of an item that no other block has; asked for, not waited for.
__device__ __forceinline__ int claim(int* taken, bool wanted, int none) {
    return threadIdx.x % 32 == 0 && wanted ? 2 * gridDim.x + atomicAdd(taken, 1) : none;
}

// Into the fragments of a tile of 16 rows; rows behind the group repeat its last one, and nobody looks at their results.
__device__ __forceinline__ void readQueries(u32 (&words)[STEPS][4], const bf16* queries, int group) {
    int lane = threadIdx.x % 32;
    u32 row = sharedAddress(queries) + (min(lane % 16, group - 1) * PITCH + lane / 16 * 8) * 2;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        loadMatrices(words[step], row + step * 32);
    }
}

extern "C" __global__ void __launch_bounds__(ATTENDING_AND_MERGING)
        paged_decode(const bf16* q, long long qStride, const bf16* kvLayer, long long blockStride,
                const int* __restrict__ blockTables, int maxBlocks, const int* __restrict__ contextTokens,
                bf16* __restrict__ out, long long outStride, float* partial, float* partialMeta, int* counters,
                int sequences, int heads, int kvHeads, int blockTokens, float scale, int window) {
    extern __shared__ __align__(16) char shared[];
    __shared__ unsigned short firstSlot[MAX_SEQUENCES + 1];
    __shared__ unsigned short tail[MAX_SEQUENCES];
    __shared__ Scratch scratch;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int group = heads / kvHeads;
    int* taken = counters;
    int* finished = counters + 1;
    int* arrived = counters + 2;
    float* outs = (float*) (shared + WARPS * DECODE_STAGES * STAGE_BYTES);
    bf16* queries = (bf16*) (outs + WARPS * group * HEAD_DIM);

    if (warp == 0) {
        layOutItems(contextTokens, sequences, window, firstSlot, tail);
        scratch.isLast = 0;
    }
    __syncthreads();

    Pool pool = {kvLayer, blockStride, kvHeads, blockTokens};
    Batch batch = {contextTokens, blockTables, firstSlot, tail, maxBlocks, sequences, window};
    int items = firstSlot[sequences] * kvHeads;
    int number = blockIdx.x, nextNumber = number + gridDim.x;
    Item item = describe(number, batch, kvHeads);
    Item next = item;
    u32 stages = sharedAddress(shared) + warp * DECODE_STAGES * STAGE_BYTES;
    int blocks = 0, nextBlocks = 0; // lane t: of this warp's tile t
    if (warp < WARPS) {
        blocks = blockOfTile(item, batch, blockTokens, lane * WARPS + warp);
        if (item.end == item.context) {
            waitForPredecessor(); // it wrote the last token
        }
#pragma unroll
        for (int stage = 0; stage < DECODE_STAGES - 1; stage++) {
            fetchTile(pool, item, blocks, stage, stages + stage * STAGE_BYTES);
        }
    }
    waitForPredecessor();
    releaseSuccessor();
    next = describe(nextNumber, batch, kvHeads);
    if (warp < WARPS) {
        nextBlocks = blockOfTile(next, batch, blockTokens, lane * WARPS + warp);
    } else if (number < items) {
        loadQueries(q, qStride, item, group, queries);
        waitForCopies<0>();
    }
    __syncthreads();
    u32 queryWords[STEPS][4];
    if (warp < WARPS) {
        readQueries(queryWords, queries, group);
    }
    __syncthreads(); // the next item's queries take their place

    Item last = item;
    if (warp < WARPS) {
        int stage = 0;
        while (item.end > 0) {
            Running running;
            clear(running);
            int firstToken = windowStart(item.context, window);
#pragma unroll 1
            for (int tile = 0; tile < TILES_PER_WARP; tile++) {
                int free = stage == 0 ? DECODE_STAGES - 1 : stage - 1; // read in the last round, free after this wait
                waitForCopies<DECODE_STAGES - 2>();
                __syncwarp();
                int ahead = tile + DECODE_STAGES - 1;
                if (ahead < TILES_PER_WARP) {
                    fetchTile(pool, item, blocks, ahead, stages + free * STAGE_BYTES);
                } else {
                    fetchTile(pool, next, nextBlocks, ahead - TILES_PER_WARP, stages + free * STAGE_BYTES);
                }
                int token = item.begin + (tile * WARPS + warp) * TILE;
                if (token < item.end) {
                    attendTile(running, queryWords, stages + stage * STAGE_BYTES, token, firstToken, item.end, group,
                            scale * LOG2_E);
                }
                stage = stage == DECODE_STAGES - 1 ? 0 : stage + 1;
            }
            meet(SCRATCH_FREE);
            last = item;
            item = next;
            blocks = nextBlocks;
            next = scratch.upcoming;
            nextBlocks = lane < TILES_PER_WARP ? scratch.blocks[lane * WARPS + warp] : 0;
            readQueries(queryWords, queries, group);
            leaveResult(running, scratch, outs, group);
            announce(SCRATCH_FULL);
        }
        waitForCopies<0>();
    } else {
        clearEmpty(contextTokens, sequences, heads, out, outStride);
        // Everything from memory is asked for before anything is waited for: where the memory is busy, an answer takes
        // microseconds.
        int upcomingNumber = claim(taken, nextNumber < items, items);
        Item pending;
        pending.end = 0;
        while (number < items) {
            upcomingNumber = __shfl_sync(FULL_WARP, upcomingNumber, 0);
            int claimed = claim(taken, upcomingNumber < items, items);
            Item upcoming = describe(upcomingNumber, batch, kvHeads);
            int blocks[(TILES + 31) / 32];
#pragma unroll
            for (int i = 0; i < (TILES + 31) / 32; i++) {
                blocks[i] = blockOfTile(upcoming, batch, blockTokens, i * 32 + lane);
            }
            if (next.end > 0) {
                loadQueries(q, qStride, next, group, queries);
            }
            if (pending.end > 0 && isComplete(pending, arrived, firstSlot, kvHeads)) {
                for (int member = 0; member < group; member += 4) {
                    mergeHeads<4>(pending.sequence, pending.kvHead, member, partial, partialMeta, firstSlot, heads,
                            group, out, outStride);
                }
            }
            scratch.upcoming = upcoming;
#pragma unroll
            for (int i = 0; i < (TILES + 31) / 32; i++) {
                if (i * 32 + lane < TILES) {
                    scratch.blocks[i * 32 + lane] = blocks[i];
                }
            }
            waitForCopies<0>();
            __syncwarp();
            announce(SCRATCH_FREE);
            meet(SCRATCH_FULL);
            bool whole = firstSlot[item.sequence + 1] - firstSlot[item.sequence] == 1;
            long long row = (long long) item.slot * heads + item.kvHead * group;
            bf16* result = out + item.sequence * outStride + (long long) item.kvHead * group * HEAD_DIM;
            combine(scratch.parts, outs, group, whole, partial + row * HEAD_DIM, partialMeta + row * 2, result);
            last = item;
            pending = item;
            pending.end = whole ? 0 : item.end;
            number = nextNumber;
            nextNumber = upcomingNumber;
            upcomingNumber = claimed;
            item = next;
            next = upcoming;
        }
        if (pending.end > 0) {
            scratch.isLast = isComplete(pending, arrived, firstSlot, kvHeads); // all have time to merge it
        }
        if (lane == 0 && items > (int) gridDim.x) {
            __threadfence();
            if (atomicAdd(finished, 1) == (int) gridDim.x - 1) {
                *taken = 0;
                *finished = 0;
            }
        }
    }
    __syncthreads();
    if (scratch.isLast && warp < WARPS) {
        for (int member = warp; member < group; member += WARPS) {
            mergeHeads<1>(last.sequence, last.kvHead, member, partial, partialMeta, firstSlot, heads, group, out,
                    outStride);
        }
    }
}
