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
// of sums; STAGES, 2 or more tiles of shared memory a warp.
//
// Launch: any grid, best as many blocks as the chip holds at once; block 160, shared memory STAGES * STAGE_BYTES * 4
// + heads / kvHeads * (18 * HEAD_DIM + 16) bytes. heads / kvHeads <= 16, sequences <= 256, slots <= 65535, blockTokens a power of two from
// 16 on. partial is (slots, heads, HEAD_DIM) f32 and partialMeta (slots, heads, 2) f32 with a slot for each split of each
// sequence; counters, (2 + sequences * kvHeads) int32, are zero before and after. These three belong to one stream. With
// programmatic dependent launch the predecessor may write the last token of the contexts and the queries, nothing else
// that is read here.
//
// Sources: splitting the context, T. Dao et al., "Flash-Decoding" (2023); online softmax, M. Milakov, N. Gimelshein
// (2018); the query heads of a group as rows of one tile and work laid out over a fixed grid for CUDA graphs,
// Z. Ye et al., "FlashInfer" (2025); the last block merges, NVIDIA's threadFenceReduction sample.

#include "common.cuh"

#define WARPS 4 // that attend
#ifndef STAGES
#define STAGES 2
#endif
#define TILE 16              // tokens a warp looks at together
#define PITCH (HEAD_DIM + 8) // elements between rows in shared memory: an odd number of 16-byte pieces, no bank conflict
#define TILE_BYTES (TILE * PITCH * 2)
#define STAGE_BYTES (2 * TILE_BYTES) // keys and values of a tile
#define STEPS (HEAD_DIM / 16)  // of the product over a head
#define COLUMNS (HEAD_DIM / 8) // tiles of 8 output columns
#define MAX_SEQUENCES 256
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

// Running softmax of 16 query rows; a thread holds rows lane / 4 and lane / 4 + 8, as mma.sync lays them out.
struct Running {
    float highest[2]; // of the scores times scale * log2(e)
    float sum[2];     // of this thread's columns only
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

struct Pool {
    const bf16* layer;
    long long blockStride;
    int kvHeads;
    int blockTokens;
};

struct Batch {
    const int* __restrict__ contextTokens;
    const int* __restrict__ blockTables;
    const unsigned short* firstSlot; // (sequences + 1), shared
    const unsigned short* tail;      // (sequences), shared: tokens in the last split
    int maxBlocks;
    int sequences;
    int window;
};

// An item of work; a warp looks at tiles warp, warp + 4, ... of its tokens.
struct Item {
    int sequence;
    int slot;
    int kvHead;
    int context;
    int begin; // a multiple of SPLIT_TOKENS
    int end;   // past the last token of the item; 0 for no item
};

__device__ __forceinline__ Item describe(int number, const Batch& batch, int kvHeads) {
    Item item;
    item.slot = number / kvHeads;
    item.kvHead = number % kvHeads;
    item.sequence = item.context = item.begin = item.end = 0;
    if (item.slot >= batch.firstSlot[batch.sequences]) {
        return item;
    }
    for (int low = 0, high = batch.sequences; low < high;) { // the last sequence whose first slot is not above
        int middle = (low + high) / 2;
        if (batch.firstSlot[middle] <= item.slot) {
            item.sequence = middle;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    int splits = batch.firstSlot[item.sequence + 1] - batch.firstSlot[item.sequence];
    item.context = batch.window > 0 ? batch.contextTokens[item.sequence]
                                    : (splits - 1) * SPLIT_TOKENS + batch.tail[item.sequence];
    int split = windowStart(item.context, batch.window) / SPLIT_TOKENS + item.slot - batch.firstSlot[item.sequence];
    item.begin = split * SPLIT_TOKENS;
    item.end = min(item.context, item.begin + SPLIT_TOKENS);
    return item;
}

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
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (half == 1 && group <= 8) {
            break;
        }
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
    float highest[WARPS][16];
    float sums[WARPS][16];
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
                scratch.highest[warp][row] = running.highest[half];
                scratch.sums[warp][row] = sum;
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

__device__ __forceinline__ void add(float4& sum, float factor, float4 values) {
    sum.x += factor * values.x;
    sum.y += factor * values.y;
    sum.z += factor * values.z;
    sum.w += factor * values.w;
}

__device__ __forceinline__ uint2 quotient(float4 values, float divisor) {
    return make_uint2(packPair(values.x / divisor, values.y / divisor), packPair(values.z / divisor, values.w / divisor));
}

// By one warp: puts the results of the four together, row by row, as a part or as the result.
__device__ __forceinline__ void combine(const Scratch& scratch, const float* outs, int group, bool whole, float* part,
        float* partMeta, bf16* result) {
    int lane = threadIdx.x % 32;
    for (int row = 0; row < group; row++) {
        float top = NEGATIVE_INFINITY;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) {
            top = fmaxf(top, scratch.highest[warp][row]);
        }
        float factors[WARPS];
        float sum = 0.0f;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) {
            factors[warp] = rescale(scratch.highest[warp][row], top);
            sum += scratch.sums[warp][row] * factors[warp];
        }
        for (int at = lane * 4; at < HEAD_DIM; at += 128) {
            float4 out = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (int warp = 0; warp < WARPS; warp++) {
                add(out, factors[warp], *(const float4*) (outs + (warp * group + row) * HEAD_DIM + at));
            }
            if (whole) {
                *(uint2*) (result + row * HEAD_DIM + at) = quotient(out, sum);
            } else {
                __stcg((float4*) (part + row * HEAD_DIM + at), out);
            }
        }
        if (!whole && lane == 0) {
            __stcg((float2*) (partMeta + row * 2), make_float2(top, sum));
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

// By one warp: merges the parts of MEMBERS query heads of an item's key head, `first` and following, that all blocks have
// written. The reads of all of them are under way together: one after the other they would take longer than an item.
template <int MEMBERS>
__device__ __forceinline__ void mergeHeads(const Item& item, int first, const float* partial, const float* partialMeta,
        const unsigned short* firstSlot, int heads, int group, bf16* out, long long outStride) {
    int lane = threadIdx.x % 32;
    int splits = firstSlot[item.sequence + 1] - firstSlot[item.sequence];
    long long place = (long long) firstSlot[item.sequence] * heads + item.kvHead * group + first;
    int members = min(MEMBERS, group - first);
    constexpr int AT_ONCE = 16 / MEMBERS;
    for (int column = 0; column < HEAD_DIM; column += 128) {
        int at = column + lane * 4;
        bool inside = at < HEAD_DIM;
        float tops[MEMBERS], sums[MEMBERS];
        float4 outs[MEMBERS];
#pragma unroll
        for (int member = 0; member < MEMBERS; member++) {
            tops[member] = NEGATIVE_INFINITY;
            sums[member] = 0.0f;
            outs[member] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
        for (int base = 0; base < splits; base += 32) {
            float2 metas[MEMBERS];
            float factors[MEMBERS];
#pragma unroll
            for (int member = 0; member < MEMBERS; member++) {
                metas[member] = base + lane < splits && member < members
                        ? __ldcg((const float2*) (partialMeta + (place + (long long) (base + lane) * heads + member) * 2))
                        : make_float2(NEGATIVE_INFINITY, 0.0f);
            }
#pragma unroll
            for (int member = 0; member < MEMBERS; member++) {
                float top = metas[member].x;
#pragma unroll
                for (int distance = 16; distance > 0; distance /= 2) {
                    top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, distance));
                }
                top = fmaxf(top, tops[member]);
                float factor = rescale(tops[member], top);
                tops[member] = top;
                factors[member] = rescale(metas[member].x, top);
                sums[member] = sums[member] * factor + metas[member].y * factors[member];
                outs[member].x *= factor;
                outs[member].y *= factor;
                outs[member].z *= factor;
                outs[member].w *= factor;
            }
            int count = min(32, splits - base);
            const float* from = partial + (place + (long long) base * heads) * HEAD_DIM + (inside ? at : 0);
            for (int i = 0; i < count; i += AT_ONCE) {
                float4 values[AT_ONCE][MEMBERS];
#pragma unroll
                for (int j = 0; j < AT_ONCE; j++) { // behind the last one: that one again, with no weight
#pragma unroll
                    for (int member = 0; member < MEMBERS; member++) {
                        values[j][member] = readNow(from
                                + ((long long) min(i + j, count - 1) * heads + min(member, members - 1)) * HEAD_DIM);
                    }
                }
                __syncwarp(); // no read sinks below
#pragma unroll
                for (int j = 0; j < AT_ONCE; j++) {
#pragma unroll
                    for (int member = 0; member < MEMBERS; member++) {
                        float factor = __shfl_sync(FULL_WARP, factors[member], (i + j) % 32);
                        add(outs[member], i + j < count ? factor : 0.0f, values[j][member]);
                    }
                }
            }
        }
#pragma unroll
        for (int member = 0; member < MEMBERS; member++) {
            float sum = warpSum(sums[member]);
            if (inside && member < members) {
                *(uint2*) (out + item.sequence * outStride + (long long) (item.kvHead * group + first + member) * HEAD_DIM
                        + at) = quotient(outs[member], sum);
            }
        }
    }
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
    float* outs = (float*) (shared + WARPS * STAGES * STAGE_BYTES);
    bf16* queries = (bf16*) (outs + WARPS * group * HEAD_DIM);

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
                tail[base + lane] = (context - 1) % SPLIT_TOKENS + 1;
            }
            slots += __shfl_sync(FULL_WARP, upTo, 31);
        }
        if (lane == 0) {
            firstSlot[sequences] = slots;
            scratch.isLast = 0;
        }
    }
    __syncthreads();

    Pool pool = {kvLayer, blockStride, kvHeads, blockTokens};
    Batch batch = {contextTokens, blockTables, firstSlot, tail, maxBlocks, sequences, window};
    int items = firstSlot[sequences] * kvHeads;
    int number = blockIdx.x, nextNumber = number + gridDim.x;
    Item item = describe(number, batch, kvHeads);
    Item next = item;
    u32 stages = sharedAddress(shared) + warp * STAGES * STAGE_BYTES;
    int blocks = 0, nextBlocks = 0; // lane t: of this warp's tile t
    if (warp < WARPS) {
        blocks = blockOfTile(item, batch, blockTokens, lane * WARPS + warp);
        if (item.end == item.context) {
            waitForPredecessor(); // it wrote the last token
        }
#pragma unroll
        for (int stage = 0; stage < STAGES - 1; stage++) {
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
                int free = stage == 0 ? STAGES - 1 : stage - 1; // read in the last round, free after this wait
                waitForCopies<STAGES - 2>();
                __syncwarp();
                int ahead = tile + STAGES - 1;
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
                stage = stage == STAGES - 1 ? 0 : stage + 1;
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
        for (int sequence = blockIdx.x; sequence < sequences; sequence += gridDim.x) {
            if (contextTokens[sequence] <= 0) {
                for (int at = lane * 2; at < heads * HEAD_DIM; at += 64) {
                    *(u32*) (out + sequence * outStride + at) = 0;
                }
            }
        }
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
                    mergeHeads<4>(pending, member, partial, partialMeta, firstSlot, heads, group, out, outStride);
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
            combine(scratch, outs, group, whole, partial + row * HEAD_DIM, partialMeta + row * 2, result);
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
            mergeHeads<1>(last, member, partial, partialMeta, firstSlot, heads, group, out, outStride);
        }
    }
}
