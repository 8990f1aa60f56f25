// Attention of one query row a sequence over its paged context on Hopper, head sizes 64 and 128; parameters and meaning
// are those of paged_decode in attention_decode.cu. For any other head size, and for older chips, this file is empty.
//
// Keys and values come in bulk copies of PIECE tokens that leave the L2 first: without either, the memory's rate was not
// reached. They lie in shared memory row by row as in the pool, and the tensor cores' operands are read from there so that
// no two lanes that read at once meet in a bank: the sum over a head may run in any order, so 16 bytes of a key are the
// operands of two products; a quad of lanes has the weights of four neighbouring tokens, and the pieces of values lie 32
// bytes off each other.
//
// Roles: four warps attend, each to 16 tokens of every chunk; the fifth warp hands out items and copies; the sixth puts
// the four results of an item together and writes them. Barriers in shared memory are all that connects them, and no
// warp waits for another one that does the same. merge_decode merges the parts of a head: whoever counts parts needs a
// fence for what it wrote, and that lasts until all copies of its multiprocessor have landed. A block takes its first
// item by its number, the others from a counter.
//
// Macros: SPLIT_TOKENS as there; DECODE_STAGES, 2 to 4 chunks of shared memory.
//
// Launch: any grid, best twice as many blocks as multiprocessors; block 192, shared memory DECODE_STAGES * STAGE_BYTES
// + heads / kvHeads * 24 * HEAD_DIM bytes. merge_decode must be the next kernel of the stream: grid (kvHeads, sequences),
// block 128. counters has two elements, all else is as in attention_decode.cu.
//
// Sources: those of attention_decode.cu; roles that meet at barriers of a ring, NVIDIA's CUTLASS, "warp-specialized
// persistent" kernels.

#include "common.cuh"
#include "attention_decode.cuh"

#if __CUDA_ARCH__ >= 900 && (HEAD_DIM == 64 || HEAD_DIM == 128)

#ifndef DECODE_STAGES
#define DECODE_STAGES 3
#endif
#if DECODE_STAGES > 4
#error "an item's place in queries and items is taken again after so many items as a ring of 4 stages allows"
#endif
#define CHUNK 64 // tokens copied together
#define PIECE 16 // tokens of one copy: no block is smaller
#define PIECES (CHUNK / PIECE)
#define ROW_BYTES (HEAD_DIM * 2)
#define KEY_BYTES (CHUNK * ROW_BYTES)
#define PIECE_BYTES (PIECE * ROW_BYTES)
#define VALUE_PITCH (PIECE_BYTES + 32) // bytes from one piece of values to the next
#define STAGE_BYTES (KEY_BYTES + PIECES * VALUE_PITCH)
#define RUN 4 // tokens of a piece that are one warp's
#define STEPS (HEAD_DIM / 16)
#define QUERY_SLOTS 4
#define ITEM_SLOTS 8
#define LOOKUPS ((SPLIT_TOKENS / PIECE + 31) / 32) // of blocks a lane
#define THREADS ((WARPS + 2) * 32)

struct Shared {
    unsigned short firstSlot[MAX_SEQUENCES + 1];
    unsigned short tail[MAX_SEQUENCES];
    Item items[ITEM_SLOTS]; // as they were handed out; the last one has no end
    int blocks[SPLIT_TOKENS / PIECE]; // of the fifth warp's item
    Parts parts;
    u64 full[DECODE_STAGES]; // the chunk is there
    u64 free[DECODE_STAGES]; // the four warps have done with it
    u64 queriesFull[QUERY_SLOTS];
    u64 resultFull; // the four warps have left their results of an item
    u64 resultFree;
};

// A place in a ring, and how often it was gone round.
template <int SIZE>
struct Turn {
    int at = 0;
    int parity = 0;

    __device__ __forceinline__ void next() {
        at++;
        if (at == SIZE) {
            at = 0;
            parity ^= 1;
        }
    }
};

__device__ __forceinline__ u32 barrier(const u64& place) { return sharedAddress(&place); }

// Behind everything that this warp's lanes did.
__device__ __forceinline__ void arriveAsWarp(const u64& place) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        arrive(barrier(place));
    }
}

__device__ __forceinline__ uint4 readShared(u32 address) {
    uint4 words;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "r"(address)
                 : "memory");
    return words;
}

// A read that is asked for here and waited for where it is used.
__device__ __forceinline__ int askFor(const int* address) {
    int value;
    asm volatile("ld.global.s32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
    return value;
}

struct Pool {
    const bf16* layer;
    long long blockStride;
    int kvHeads;
    int blockTokens;
};

// ---- the fifth warp

// Asks for the blocks of the pieces of an item.
__device__ __forceinline__ void lookUp(int (&blocks)[LOOKUPS], const Item& item, const Batch& batch, int blockTokens) {
#pragma unroll
    for (int i = 0; i < LOOKUPS; i++) {
        int token = item.begin + (i * 32 + threadIdx.x % 32) * PIECE;
        blocks[i] = token < item.end
                ? askFor(batch.blockTables + (long long) item.sequence * batch.maxBlocks + token / blockTokens)
                : 0;
    }
}

// Starts the copies of the chunk from `token` on: lanes 0 to 3 those of values, 4 to 7 those of keys.
__device__ __forceinline__ void fetchChunk(const Pool& pool, const Item& item, const int* blocks, int token, u32 stage,
        u32 full, u64 policy) {
    int lane = threadIdx.x % 32;
    if (lane == 0) {
        arriveExpecting(full, 2 * min(CHUNK, item.end - token) * ROW_BYTES);
    }
    __syncwarp();
    int mine = token + lane % PIECES * PIECE;
    if (lane < 2 * PIECES && mine < item.end) {
        bool isKey = lane >= PIECES;
        long long block = blocks[(mine - item.begin) / PIECE];
        const bf16* source = pool.layer + block * pool.blockStride
                + ((long long) ((isKey ? 0 : pool.kvHeads) + item.kvHead) * pool.blockTokens
                          + (mine & (pool.blockTokens - 1)))
                        * HEAD_DIM;
        u32 target = stage + (isKey ? lane % PIECES * PIECE_BYTES : KEY_BYTES + lane * VALUE_PITCH);
        copyBulk(target, source, min(PIECE, item.end - mine) * ROW_BYTES, full, policy);
    }
}

__device__ __forceinline__ void fetchQueries(const bf16* q, long long qStride, const Item& item, int group, u32 target,
        u32 full) {
    if (threadIdx.x % 32 == 0) {
        u32 bytes = group * ROW_BYTES;
        arriveExpecting(full, bytes);
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                             target),
                     "l"(q + item.sequence * qStride + (long long) item.kvHead * group * HEAD_DIM), "r"(bytes), "r"(full)
                     : "memory");
    }
}

__device__ __forceinline__ void handOut(Shared& shared, u32 stages, u32 queries, const bf16* q, long long qStride,
        const Pool& pool, const Batch& batch, int group, int* counters) {
    int lane = threadIdx.x % 32;
    int* taken = counters;
    int* finished = counters + 1;
    int items = batch.firstSlot[batch.sequences] * pool.kvHeads;
    bool isCounted = items > (int) gridDim.x; // otherwise each block has at most one item
    u64 policy = readOncePolicy();
    Turn<DECODE_STAGES> stage;
    Turn<QUERY_SLOTS> slot;
    Item item = describe(blockIdx.x, batch, pool.kvHeads);
    int blocks[LOOKUPS];
    lookUp(blocks, item, batch, pool.blockTokens);
    bool mayRead = false; // what the predecessor wrote
    int number = 0, copied = 0;
    for (; item.end > 0; number++) {
        int claimed = items;
        if (lane == 0 && isCounted) {
            claimed = gridDim.x + atomicAdd(taken, 1);
        }
#pragma unroll
        for (int i = 0; i < LOOKUPS; i++) {
            if (i * 32 + lane < SPLIT_TOKENS / PIECE) {
                shared.blocks[i * 32 + lane] = blocks[i];
            }
        }
        if (lane == 0) {
            shared.items[number % ITEM_SLOTS] = item;
        }
        __syncwarp();
        bool hasQueries = mayRead;
        if (mayRead) {
            // Behind this, those that had the slot before have done with it.
            waitForBarrier(barrier(shared.free[stage.at]), stage.parity ^ 1);
            fetchQueries(q, qStride, item, group, queries + slot.at * group * ROW_BYTES,
                    barrier(shared.queriesFull[slot.at]));
        }
        Item next;
        int chunks = (item.end - item.begin + CHUNK - 1) / CHUNK;
        for (int chunk = 0; chunk < chunks; chunk++) {
            int token = item.begin + chunk * CHUNK;
            if (!mayRead && (copied == DECODE_STAGES || token + CHUNK >= item.context)) { // it wrote the last token
                waitForPredecessor();
                mayRead = true;
            }
            if (mayRead && !hasQueries) {
                fetchQueries(q, qStride, item, group, queries + slot.at * group * ROW_BYTES,
                        barrier(shared.queriesFull[slot.at]));
                hasQueries = true;
            }
            waitForBarrier(barrier(shared.free[stage.at]), stage.parity ^ 1);
            fetchChunk(pool, item, shared.blocks, token, stages + stage.at * STAGE_BYTES,
                    barrier(shared.full[stage.at]), policy);
            copied = min(copied + 1, DECODE_STAGES);
            stage.next();
            if (chunk == chunks / 2) {
                next = describe(__shfl_sync(FULL_WARP, claimed, 0), batch, pool.kvHeads);
                lookUp(blocks, next, batch, pool.blockTokens);
            }
        }
        if (!hasQueries) {
            waitForPredecessor();
            mayRead = true;
            fetchQueries(q, qStride, item, group, queries + slot.at * group * ROW_BYTES,
                    barrier(shared.queriesFull[slot.at]));
        }
        slot.next();
        __syncwarp(); // shared.blocks is written again
        item = next;
    }
    waitForBarrier(barrier(shared.free[stage.at]), stage.parity ^ 1);
    if (lane == 0) {
        shared.items[number % ITEM_SLOTS].end = 0;
        arrive(barrier(shared.full[stage.at]));
        if (isCounted) {
            __threadfence();
            if (atomicAdd(finished, 1) == (int) gridDim.x - 1) {
                *taken = 0;
                *finished = 0;
            }
        }
    }
}

// ---- the four that attend

// Into the fragments of a tile of 16 rows; rows behind the group repeat its last one, and nobody looks at their results.
__device__ __forceinline__ void readQueries(u32 (&words)[STEPS][4], u32 queries, int group) {
    int lane = threadIdx.x % 32;
    u32 low = queries + min(lane / 4, group - 1) * ROW_BYTES + lane % 4 * 16;
    u32 high = queries + min(lane / 4 + 8, group - 1) * ROW_BYTES + lane % 4 * 16;
#pragma unroll
    for (int step = 0; step < STEPS; step += 2) {
        uint4 a = readShared(low + step * 32), b = readShared(high + step * 32);
        words[step][0] = a.x;
        words[step][1] = b.x;
        words[step][2] = a.y;
        words[step][3] = b.y;
        words[step + 1][0] = a.z;
        words[step + 1][1] = b.z;
        words[step + 1][2] = a.w;
        words[step + 1][3] = b.w;
    }
}

__device__ __forceinline__ uint4 either(bool first, uint4 a, uint4 b) {
    return make_uint4(first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w);
}

// Scores of this warp's tokens; column 2 * j + i of half h is token 2 * h + i of its run in piece j.
__device__ __forceinline__ void score(float (&scores)[2][4], const u32 (&q)[STEPS][4], u32 keys) {
    int lane = threadIdx.x % 32;
    bool isEven = lane / 4 % 2 == 0;
    // Two neighbouring rows lie in the same banks: every other one is read in the other order.
    u32 row = keys + lane / 8 * PIECE_BYTES + lane / 4 % 2 * ROW_BYTES + lane % 4 * 16;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int step = 0; step < STEPS; step += 4) {
            u32 place = row + half * 2 * ROW_BYTES + step * 32;
            uint4 a = readShared(place + (isEven ? 0 : 64)), b = readShared(place + (isEven ? 64 : 0));
            uint4 first = either(isEven, a, b), second = either(isEven, b, a);
            multiplyAdd(scores[half], q[step], first.x, first.y);
            multiplyAdd(scores[half], q[step + 1], first.z, first.w);
            multiplyAdd(scores[half], q[step + 2], second.x, second.y);
            multiplyAdd(scores[half], q[step + 3], second.z, second.w);
        }
    }
}

// Element `at` of two rows, in one word.
__device__ __forceinline__ u32 pairOf(u32 first, u32 second, int at) {
    return __byte_perm(first, second, at % 2 == 0 ? 0x5410 : 0x7632);
}

// out += weights * values; column n of the products is element `at` of the n-th 16 bytes of 128.
__device__ __forceinline__ void addValues(float (&out)[COLUMNS][4], const u32 (&weights)[4], u32 values) {
    int lane = threadIdx.x % 32;
    u32 place = values + lane % 4 * VALUE_PITCH + lane / 4 * 16;
#pragma unroll
    for (int column = 0; column < COLUMNS; column += 8) {
        u32 rows[RUN][4];
#pragma unroll
        for (int row = 0; row < RUN; row++) {
            uint4 words = readShared(place + row * ROW_BYTES + column * 16);
            rows[row][0] = words.x;
            rows[row][1] = words.y;
            rows[row][2] = words.z;
            rows[row][3] = words.w;
        }
#pragma unroll
        for (int at = 0; at < 8; at++) {
            multiplyAdd(out[column + at], weights, pairOf(rows[0][at / 2], rows[1][at / 2], at),
                    pairOf(rows[2][at / 2], rows[3][at / 2], at));
        }
    }
}

// Makes zeros of this warp's values behind the context: whatever lies in the block could be NaN. Scores are masked.
__device__ __forceinline__ void clearBehind(u32 values, int rows) {
    int lane = threadIdx.x % 32;
    for (int run = 0; run < PIECES * RUN; run++) {
        int row = run / RUN * PIECE + run % RUN; // of the chunk, but for the warp's place
        if (threadIdx.x / 32 * RUN + row >= rows) {
            u32 place = values + run / RUN * VALUE_PITCH + run % RUN * ROW_BYTES;
            for (u32 at = lane * 4; at < ROW_BYTES; at += 128) {
                asm volatile("st.shared.u32 [%0], %1;" ::"r"(place + at), "r"(0) : "memory");
            }
        }
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); // the next copy to this place comes behind them
    __syncwarp();
}

__device__ __forceinline__ void leaveResult(const Running& running, Parts& parts, float* outs, int group) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = lane / 4 + half * 8;
        float sum = running.sum[half];
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        if (row >= group) {
            continue;
        }
        if (lane % 4 == 0) {
            parts.highest[warp][row] = running.highest[half];
            parts.sums[warp][row] = sum;
        }
        float* mine = outs + (warp * group + row) * HEAD_DIM + lane % 4 * 16;
#pragma unroll
        for (int column = 0; column < COLUMNS; column += 8) {
#pragma unroll
            for (int at = 0; at < 16; at += 4) {
                const int first = column + at % 8, which = half * 2 + at / 8;
                *(float4*) (mine + column * 8 + at) =
                        make_float4(running.out[first][which], running.out[first + 1][which],
                                running.out[first + 2][which], running.out[first + 3][which]);
            }
        }
    }
}

__device__ __forceinline__ void attend(Shared& shared, u32 stages, u32 queries, float* outs, int group, int window,
        float scale) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Turn<DECODE_STAGES> stage;
    Turn<QUERY_SLOTS> slot;
    int number = 0;
    for (;; number++) {
        // The item is described in front of its first chunk.
        waitForBarrier(barrier(shared.full[stage.at]), stage.parity);
        int begin = shared.items[number % ITEM_SLOTS].begin, end = shared.items[number % ITEM_SLOTS].end;
        if (end == 0) {
            break;
        }
        int firstToken = windowStart(shared.items[number % ITEM_SLOTS].context, window);
        waitForBarrier(barrier(shared.queriesFull[slot.at]), slot.parity);
        u32 q[STEPS][4];
        readQueries(q, queries + slot.at * group * ROW_BYTES, group);
        slot.next();
        Running running;
        clear(running);
#pragma unroll 1
        for (int token = begin + warp * RUN; token < (begin + warp * RUN) + (end - begin + CHUNK - 1) / CHUNK * CHUNK;
                token += CHUNK) {
            waitForBarrier(barrier(shared.full[stage.at]), stage.parity);
            u32 keys = stages + stage.at * STAGE_BYTES + warp * RUN * ROW_BYTES;
            if (token < end) {
                float scores[2][4] = {};
                u32 weights[4] = {};
                int mine = token + lane % 4 * PIECE; // this thread's scores are those of a run
                score(scores, q, keys);
                weigh(running, scores, weights, group, scale,
                        [&](int i) { return mine + i >= firstToken && mine + i < end; });
                int rows = end - (token - warp * RUN);
                if (rows < CHUNK) {
                    clearBehind(keys + KEY_BYTES, rows);
                }
                addValues(running.out, weights, keys + KEY_BYTES);
            }
            arriveAsWarp(shared.free[stage.at]);
            stage.next();
        }
        waitForBarrier(barrier(shared.resultFree), number & 1 ^ 1);
        leaveResult(running, shared.parts, outs, group);
        arriveAsWarp(shared.resultFull);
    }
    waitForBarrier(barrier(shared.resultFree), number & 1 ^ 1);
    arriveAsWarp(shared.resultFull); // the sixth looks at the item, too, that has no end
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
        paged_decode_sm90(const bf16* q, long long qStride, const bf16* kvLayer, long long blockStride,
                const int* __restrict__ blockTables, int maxBlocks, const int* __restrict__ contextTokens,
                bf16* __restrict__ out, long long outStride, float* partial, float* partialMeta, int* counters,
                int sequences, int heads, int kvHeads, int blockTokens, float scale, int window) {
    extern __shared__ __align__(128) char dynamic[];
    __shared__ Shared shared;
    int warp = threadIdx.x / 32;
    int group = heads / kvHeads;
    u32 stages = sharedAddress(dynamic);
    float* outs = (float*) (dynamic + DECODE_STAGES * STAGE_BYTES);
    u32 queries = stages + DECODE_STAGES * STAGE_BYTES + WARPS * group * HEAD_DIM * 4;
    if (warp == 0) {
        layOutItems(contextTokens, sequences, window, shared.firstSlot, shared.tail);
    } else if (threadIdx.x == 32) {
        for (int i = 0; i < DECODE_STAGES; i++) {
            initBarrier(barrier(shared.full[i]), 1);
            initBarrier(barrier(shared.free[i]), WARPS);
        }
        for (int i = 0; i < QUERY_SLOTS; i++) {
            initBarrier(barrier(shared.queriesFull[i]), 1);
        }
        initBarrier(barrier(shared.resultFull), WARPS);
        initBarrier(barrier(shared.resultFree), 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    Batch batch = {contextTokens, blockTables, shared.firstSlot, shared.tail, maxBlocks, sequences, window};
    if (warp < WARPS) {
        attend(shared, stages, queries, outs, group, window, scale * LOG2_E);
    } else if (warp == WARPS) {
        Pool pool = {kvLayer, blockStride, kvHeads, blockTokens};
        handOut(shared, stages, queries, q, qStride, pool, batch, group, counters);
    } else {
        waitForPredecessor();
        releaseSuccessor();
        clearEmpty(contextTokens, sequences, heads, out, outStride);
        for (int number = 0;; number++) {
            waitForBarrier(barrier(shared.resultFull), number & 1);
            const Item& item = shared.items[number % ITEM_SLOTS];
            if (item.end == 0) {
                break;
            }
            bool whole = shared.firstSlot[item.sequence + 1] - shared.firstSlot[item.sequence] == 1;
            long long row = (long long) item.slot * heads + item.kvHead * group;
            combine(shared.parts, outs, group, whole, partial + row * HEAD_DIM, partialMeta + row * 2,
                    out + item.sequence * outStride + (long long) item.kvHead * group * HEAD_DIM);
            arriveAsWarp(shared.resultFree);
        }
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
        merge_decode(const int* __restrict__ contextTokens, bf16* __restrict__ out, long long outStride,
                const float* partial, const float* partialMeta, int sequences, int heads, int kvHeads, int window) {
    __shared__ unsigned short firstSlot[MAX_SEQUENCES + 1];
    __shared__ unsigned short tail[MAX_SEQUENCES];
    if (threadIdx.x < 32) {
        layOutItems(contextTokens, sequences, window, firstSlot, tail);
    }
    __syncthreads();
    waitForPredecessor();
    releaseSuccessor();
    int sequence = blockIdx.y, kvHead = blockIdx.x, group = heads / kvHeads;
    if (firstSlot[sequence + 1] - firstSlot[sequence] > 1) {
        for (int member = threadIdx.x / 32; member < group; member += WARPS) {
            mergeHeads<1>(sequence, kvHead, member, partial, partialMeta, firstSlot, heads, group, out, outStride);
        }
    }
}

#endif
