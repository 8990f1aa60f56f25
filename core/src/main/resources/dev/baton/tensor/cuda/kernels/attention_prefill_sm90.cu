// Causal attention of the query rows of several sequences over their paged context on Hopper's warpgroup tensor cores
// (wgmma), head sizes 64 and 128; meaning as paged_prefill's in attention_prefill.cu. For any other head size or chip this
// file is empty.
//
// An item of work is ROWS query rows of one head: one warpgroup brings tiles of KEYS tokens out of the pages into STAGES
// places in shared memory, two warpgroups compute 64 rows each. A warpgroup starts the product of its queries with the
// next tile's keys and that of this tile's weights with its values together, and works on the next softmax while the
// latter runs. Rows are masked by position, so a row's result does not depend on what else is in the batch but through
// the number of splits.
//
// Whole tiles are brought by the tensor memory accelerator, a box a page and panel; `kvMap` is a tensor map of the layer's
// pages (elements of a head, tokens of a page, key heads and then value heads, pages) whose boxes are PANEL elements of
// min(blockTokens, KEYS) tokens, swizzled by 128 bytes. The tile in which a context ends is copied by threads, which write
// zeros behind that end.
//
// A block does items from the longest to the shortest, every second turn of the blocks in the reverse order: all have
// nearly the same to do, and the next item's tiles are on their way while the last one's results are written.
//
// Few rows behind a long context would leave most of the chip idle: `splits` items share the context of a tile of rows
// then. Each leaves what it has, not divided by its sum, in `partial`, f32 (rows of the step, splits, heads, HEAD_DIM),
// and for each head the maximum (times scale * log2(e)) and the sum in `partialMeta`, (rows, splits, heads, 2); a share
// without tokens leaves a sum of 0 and nothing else. merge_prefill puts them together.
//
// Launch: grid (any number of blocks, a block a multiprocessor at most is at work at a time), block 384, shared memory
// 1024 + (ROWS + 2 * STAGES * KEYS) * HEAD_DIM * 2 bytes; `mostTiles` is ceil(most rows of a sequence / ROWS). blockTokens is
// a power of two from 16 on. Stateless.
// merge_prefill, only for splits > 1: grid (rows, ceil(heads / 8)), block 256; its first row is that of the first sequence.
//
// Sources: J. Shah et al., "FlashAttention-3" (2024), for the roles of the warpgroups, the order of the products and the
// turns of the groups; T. Dao et al., "Flash-Decoding" (2023), for sharing a context;
// NVIDIA's PTX ISA, sections "Asynchronous Warpgroup Level Matrix", for layouts and descriptors, and "Tensors".

#include "common.cuh"

#if (HEAD_DIM == 64 || HEAD_DIM == 128) && defined(__CUDA_ARCH_FEAT_SM90_ALL)

#define ROWS 128
#define KEYS 128
#ifndef STAGES
#define STAGES 2
#endif
#define WARPGROUP 128
#define PANEL 64                           // elements of a row in one swizzled panel: 128 bytes
#define PANELS (HEAD_DIM / PANEL)
#define QUERY_PANEL_BYTES (64 * PANEL * 2) // of one warpgroup's rows
#define KEY_PANEL_BYTES (KEYS * PANEL * 2)
#define QUERY_BYTES (64 * HEAD_DIM * 2)
#define TILE_BYTES (KEYS * HEAD_DIM * 2)
#define CHUNKS (HEAD_DIM / 8) // pieces of 16 bytes in a row
#define ROW_STEP (WARPGROUP / CHUNKS)
#define PASSES (KEYS / ROW_STEP)
#define SCORES (KEYS / 2)  // of a thread: 2 rows of KEYS / 4
#define OUTPUTS (HEAD_DIM / 2)

// Descriptor of an operand in shared memory with the swizzle of 128 bytes: 8 rows of 128 bytes make a unit of 1024.
// `stride` is the distance between such units along the rows, `leading` that between panels where rows are the inner
// dimension of the product.
__device__ __forceinline__ u64 describeOperand(u32 address, u32 leading, u32 stride) {
    return (u64) ((address & 0x3ffff) >> 4) | (u64) (leading >> 4) << 16 | (u64) (stride >> 4) << 32 | 1ull << 62;
}

#define LIST_8(d, i) \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
            "+f"(d[i + 7])
#define LIST_32(d, i) LIST_8(d, i), LIST_8(d, i + 8), LIST_8(d, i + 16), LIST_8(d, i + 24)
#define NAMES_32 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
    "%24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64 \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, " \
             "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// scores (64 x 128) = or += queries (64 x 16, shared) * keys^T (16 x 128, shared).
__device__ __forceinline__ void multiplyKeys(float (&scores)[SCORES], u64 queries, u64 keys, int add) {
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64 "}, %64, %65, add, 1, 1, 0, 0;\n}"
                 : LIST_32(scores, 0), LIST_32(scores, 32)
                 : "l"(queries), "l"(keys), "r"(add));
}

// out (64 x HEAD_DIM) += weights (64 x 16, registers) * values (16 x HEAD_DIM, shared, a row a token).
__device__ __forceinline__ void multiplyValues(float (&out)[OUTPUTS], const u32* weights, u64 values) {
#if HEAD_DIM == 128
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64 "}, {%64, %65, %66, %67}, %68, 1, 1, "
                 "1, 1;"
                 : LIST_32(out, 0), LIST_32(out, 32)
                 : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(values));
#else
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32 "}, {%32, %33, %34, %35}, %36, 1, 1, "
                 "1, 1;"
                 : LIST_32(out, 0)
                 : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(values));
#endif
}

__device__ __forceinline__ void startProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int PENDING>
__device__ __forceinline__ void waitForProducts() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving uses of accumulators across the start or the end of a product.
template <int COUNT>
__device__ __forceinline__ void pin(float (&values)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        asm volatile("" : "+f"(values[i])::"memory");
    }
}

// As the driver encodes it.
struct __align__(64) TensorMap {
    u64 words[16];
};

// A box of a tensor of four dimensions to shared memory; `barrier` counts its bytes. What is outside of the tensor is 0.
__device__ __forceinline__ void copyBox(u32 target, const TensorMap* map, int element, int token, int head, int page,
        u32 barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
                 "[%6];" ::"r"(target), "l"(map), "r"(element), "r"(token), "r"(head), "r"(page), "r"(barrier)
                 : "memory");
}

// Makes what ordinary copies wrote to shared memory visible to the tensor cores.
__device__ __forceinline__ void fenceForTensorCores() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Weights of one tile: masks, takes the new maximum, turns scores into exp2((score - maximum) * scale) and returns the
// factors for what was summed so far.
__device__ __forceinline__ void weigh(float (&scores)[SCORES], float (&highest)[2], float (&sums)[2],
        float (&factors)[2], float scale, bool masked, int firstToken, int position, int window) {
    int lane = threadIdx.x % 32;
    if (masked) {
#pragma unroll
        for (int i = 0; i < SCORES; i++) {
            int token = firstToken + i / 4 * 8 + lane % 4 * 2 + i % 2;
            int row = position + i / 2 % 2 * 8;
            bool seen = token <= row && (window <= 0 || token > row - window);
            scores[i] = seen ? scores[i] : NEGATIVE_INFINITY;
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = highest[half];
#pragma unroll
        for (int i = 0; i < SCORES; i += 4) {
            top = fmaxf(top, fmaxf(scores[i + half * 2], scores[i + half * 2 + 1]));
        }
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
        float base = top == NEGATIVE_INFINITY ? 0.0f : top * scale;
        factors[half] = exp2Fast(highest[half] * scale - base);
        highest[half] = top;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < SCORES; i += 4) {
            scores[i + half * 2] = exp2Fast(scores[i + half * 2] * scale - base);
            scores[i + half * 2 + 1] = exp2Fast(scores[i + half * 2 + 1] * scale - base);
            sum += scores[i + half * 2] + scores[i + half * 2 + 1];
        }
        sums[half] = sums[half] * factors[half] + sum;
    }
}

__device__ __forceinline__ void pack(u32 (&weights)[SCORES / 2], const float (&scores)[SCORES]) {
#pragma unroll
    for (int i = 0; i < SCORES / 2; i++) {
        weights[i] = packPair(scores[i * 2], scores[i * 2 + 1]);
    }
}

// Starts scores = queries * keys^T of the i-th tile of all as one group of products.
__device__ __forceinline__ void startKeys(float (&scores)[SCORES], u64 queries, u64 keys, u32 full, int i) {
    waitForBarrier(full + i % STAGES * 8, i / STAGES & 1);
    pin(scores);
    startProducts();
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; step++) {
        int panel = step / 4, within = step % 4;
        multiplyKeys(scores, queries + (panel * QUERY_PANEL_BYTES + within * 32) / 16,
                keys + (i % STAGES * TILE_BYTES + panel * KEY_PANEL_BYTES + within * 32) / 16, step != 0);
    }
    commitProducts();
}

// Starts out += weights * values of the i-th tile of all as one group of products.
__device__ __forceinline__ void startValues(float (&out)[OUTPUTS], const u32 (&weights)[SCORES / 2], u64 values,
        u32 full, int i) {
    waitForBarrier(full + i % STAGES * 8, i / STAGES & 1);
    pin(out);
    startProducts();
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        multiplyValues(out, weights + step * 4, values + (i % STAGES * TILE_BYTES + step * 16 * 128) / 16);
    }
    commitProducts();
}

// What a block does at a time.
struct Item {
    int head, sequence, split;
    int firstRow, rows;   // of the sequence
    int base;             // first row of the tile within the sequence
    int context;          // of the sequence
    int firstPosition;    // of the tile's first row
    int begin, tiles;     // of keys
};

// Finds an item. False if the sequence has fewer rows.
__device__ __forceinline__ bool findItem(Item& item, int index, const int* queryStart, const int* contextTokens,
        int splits, int mostTiles, int sequences, int heads, int window) {
    item.head = index % heads;
    int rest = index / heads;
    item.sequence = rest % sequences;
    int place = mostTiles * splits - 1 - rest / sequences; // the longest work first
    item.split = place % splits;
    item.base = place / splits * ROWS;
    item.firstRow = queryStart[item.sequence];
    item.rows = queryStart[item.sequence + 1] - item.firstRow;
    if (item.base >= item.rows) {
        return false;
    }
    item.context = contextTokens[item.sequence];
    item.firstPosition = item.context - item.rows + item.base;
    int lastPosition = min(item.firstPosition + ROWS, item.context) - 1;
    item.begin = window > 0 ? max(0, item.firstPosition - window + 1) / KEYS : 0;
    item.tiles = lastPosition / KEYS + 1 - item.begin;
    if (splits > 1) {
        int share = (item.tiles + splits - 1) / splits;
        item.begin += item.split * share;
        item.tiles = max(0, min(share, item.tiles - item.split * share));
    }
    return true;
}

// The item of this block's turn, in turns of alternating direction.
__device__ __forceinline__ int itemOfTurn(int turn) {
    int place = turn & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
    return turn * gridDim.x + place;
}

extern "C" __global__ void __launch_bounds__(3 * WARPGROUP, 1)
        paged_prefill_sm90(const bf16* q, long long qStride, const bf16* kvLayer, long long blockStride,
                const __grid_constant__ TensorMap kvMap, const int* blockTables, int maxBlocks,
                const int* queryStart, const int* contextTokens, bf16* __restrict__ out, long long outStride, float* partial,
                float* partialMeta, int splits, int mostTiles, int sequences, int heads, int kvHeads, int blockTokens,
                float scale, int window) {
    extern __shared__ char unaligned[];
    __shared__ __align__(8) u64 barriers[4 * STAGES];
    u32 queries = (sharedAddress(unaligned) + 1023) & ~1023u;
    u32 keyTiles = queries + 2 * QUERY_BYTES;
    u32 valueTiles = keyTiles + STAGES * TILE_BYTES;
    u32 keysFull = sharedAddress(barriers);
    u32 valuesFull = keysFull + STAGES * 8;
    u32 keysFree = valuesFull + STAGES * 8;
    u32 valuesFree = keysFree + STAGES * 8;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            initBarrier(keysFull + stage * 8, 1);
            initBarrier(valuesFull + stage * 8, 1);
            initBarrier(keysFree + stage * 8, 2 * WARPGROUP / 32);
            initBarrier(valuesFree + stage * 8, 2 * WARPGROUP / 32);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    waitForPredecessor();
    releaseSuccessor();

    int items = heads * sequences * mostTiles * splits;
    int thread = threadIdx.x % WARPGROUP;
    int lane = thread % 32;
    int chunk = thread % CHUNKS, rowOfPass = thread / CHUNKS;
    u32 place = rowOfPass * 128 + ((chunk % 8) ^ (rowOfPass % 8)) * 16;
    Item item;
    if (threadIdx.x < WARPGROUP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
        place += chunk / 8 * KEY_PANEL_BYTES;
        int pageShift = 31 - __clz(blockTokens);
        int boxTokens = min(blockTokens, KEYS);
        int boxes = KEYS / boxTokens;
        int box = lane % boxes, panel = lane / boxes; // of this lane, if that is one of the panels
        u32 boxPlace = panel * KEY_PANEL_BYTES + box * boxTokens * 128;
        long long valueOffset = (long long) kvHeads * blockTokens * HEAD_DIM;
        int n = 0; // tiles so far
        for (int turn = 0; turn * gridDim.x < items; turn++) {
            int index = itemOfTurn(turn);
            if (index >= items || !findItem(item, index, queryStart, contextTokens, splits, mostTiles, sequences, heads,
                        window)) {
                continue;
            }
            int kvHead = item.head / (heads / kvHeads);
            const int* blocks = blockTables + (long long) item.sequence * maxBlocks;
            for (int i = 0; i < item.tiles; i++, n++) {
                int stage = n % STAGES, parity = (n / STAGES & 1) ^ 1;
                int first = (item.begin + i) * KEYS;
                u32 keyTile = keyTiles + stage * TILE_BYTES, valueTile = valueTiles + stage * TILE_BYTES;
                if (first + KEYS <= item.context) {
                    if (threadIdx.x < 32) {
                        int token = first + box * boxTokens;
                        int page = blocks[token >> pageShift];
                        waitForBarrier(keysFree + stage * 8, parity);
                        if (lane == 0) {
                            arriveExpecting(keysFull + stage * 8, TILE_BYTES);
                        }
                        __syncwarp();
                        if (panel < PANELS) {
                            copyBox(keyTile + boxPlace, &kvMap, panel * PANEL, token & (blockTokens - 1), kvHead, page,
                                    keysFull + stage * 8);
                        }
                        waitForBarrier(valuesFree + stage * 8, parity);
                        if (lane == 0) {
                            arriveExpecting(valuesFull + stage * 8, TILE_BYTES);
                        }
                        __syncwarp();
                        if (panel < PANELS) {
                            copyBox(valueTile + boxPlace, &kvMap, panel * PANEL, token & (blockTokens - 1),
                                    kvHeads + kvHead, page, valuesFull + stage * 8);
                        }
                    }
                    continue;
                }
                // The other three warps have gone on to here, and must not wait for an earlier phase of the barriers.
                asm volatile("bar.sync %0, %1;" ::"n"(5), "n"(WARPGROUP) : "memory");
                const bf16* keys = kvLayer + (long long) kvHead * blockTokens * HEAD_DIM + chunk * 8;
                int myToken = first + lane * ROW_STEP; // lane p looks up the block of pass p
                int myBlock = lane < PASSES && myToken < item.context ? blocks[myToken >> pageShift] : 0;
                waitForBarrier(keysFree + stage * 8, parity);
                waitForBarrier(valuesFree + stage * 8, parity);
#pragma unroll 4
                for (int pass = 0; pass < PASSES; pass++) {
                    int token = first + pass * ROW_STEP + rowOfPass;
                    long long block = __shfl_sync(FULL_WARP, myBlock, pass);
                    const bf16* source = keys + block * blockStride + (token & (blockTokens - 1)) * HEAD_DIM;
                    u32 target = place + pass * ROW_STEP * 128;
                    copyAsync16(keyTile + target, source, token < item.context);
                    copyAsync16(valueTile + target, source + valueOffset, token < item.context);
                }
                asm volatile("cp.async.wait_all;" ::: "memory");
                fenceForTensorCores();
                asm volatile("bar.sync %0, %1;" ::"n"(5), "n"(WARPGROUP) : "memory");
                if (threadIdx.x == 0) {
                    arrive(keysFull + stage * 8);
                    arrive(valuesFull + stage * 8);
                }
            }
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
        int group = threadIdx.x / WARPGROUP - 1;
        int warp = thread / 32;
        queries += group * QUERY_BYTES;
        place += chunk / 8 * QUERY_PANEL_BYTES;
        float scaleLog2 = scale * LOG2_E;
        u64 queryOperand = describeOperand(queries, 16, 1024);
        u64 keyOperand = describeOperand(keyTiles, 16, 1024);
        u64 valueOperand = describeOperand(valueTiles, KEY_PANEL_BYTES, 1024);
        int turn = 0;
        // Goes on to this block's next item, if there is one, and starts to bring its queries.
        auto next = [&]() {
            for (; turn * gridDim.x < items; turn++) {
                int index = itemOfTurn(turn);
                if (index < items
                        && findItem(item, index, queryStart, contextTokens, splits, mostTiles, sequences, heads, window)) {
                    turn++;
                    const bf16* from =
                            q + (long long) item.firstRow * qStride + (long long) item.head * HEAD_DIM + chunk * 8;
#pragma unroll
                    for (int pass = 0; pass < 64 / ROW_STEP; pass++) {
                        int row = item.base + group * 64 + pass * ROW_STEP + rowOfPass;
                        copyAsync16(queries + place + pass * ROW_STEP * 128, from + min(row, item.rows - 1) * qStride,
                                row < item.rows);
                    }
                    commitCopies();
                    return true;
                }
            }
            return false;
        };
        if (group == 1) {
            asm volatile("bar.arrive %0, %1;" ::"n"(3), "n"(2 * WARPGROUP) : "memory");
        }
        int n = 0; // tiles so far
        bool isThere = next();
        while (isThere) {
            Item now = item;
            float highest[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY};
            float sums[2] = {};
            float factors[2];
            float scores[SCORES];
            float sum[OUTPUTS];
            u32 weights[SCORES / 2];
            waitForCopies<0>();
            fenceForTensorCores();
            asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(WARPGROUP) : "memory");
#pragma unroll
            for (int i = 0; i < OUTPUTS; i++) {
                sum[i] = 0.0f;
            }
            if (now.tiles == 0) { // only of several splits
                int row = now.base + threadIdx.x - WARPGROUP;
                if (threadIdx.x < WARPGROUP + ROWS && row < now.rows) {
                    long long at = ((long long) (now.firstRow + row) * splits + now.split) * heads + now.head;
                    *(float2*) (partialMeta + at * 2) = make_float2(NEGATIVE_INFINITY, 0.0f);
                }
                isThere = next();
                continue;
            }
            int groupPosition = now.firstPosition + group * 64;
            int position = groupPosition + warp * 16 + lane / 4;
            auto isMasked = [&](int i) {
                int first = (now.begin + i) * KEYS;
                return first + KEYS - 1 > groupPosition || (window > 0 && first <= groupPosition + 63 - window);
            };

            startKeys(scores, queryOperand, keyOperand, keysFull, n);
            waitForProducts<0>();
            pin(scores);
            if (lane == 0) {
                arrive(keysFree + n % STAGES * 8);
            }
            weigh(scores, highest, sums, factors, scaleLog2, isMasked(0), now.begin * KEYS, position, window);
            pack(weights, scores);
#pragma unroll 1
            for (int i = 1; i < now.tiles; i++) {
                // The groups issue their products in turn: one computes weights while the other has the tensor cores.
                asm volatile("bar.sync %0, %1;" ::"r"(group + 3), "n"(2 * WARPGROUP) : "memory");
                startKeys(scores, queryOperand, keyOperand, keysFull, n + i);
                startValues(sum, weights, valueOperand, valuesFull, n + i - 1);
                asm volatile("bar.arrive %0, %1;" ::"r"((group ^ 1) + 3), "n"(2 * WARPGROUP) : "memory");
                waitForProducts<1>();
                pin(scores);
                if (lane == 0) {
                    arrive(keysFree + (n + i) % STAGES * 8);
                }
                weigh(scores, highest, sums, factors, scaleLog2, isMasked(i), (now.begin + i) * KEYS, position, window);
                waitForProducts<0>();
                pin(sum);
                if (lane == 0) {
                    arrive(valuesFree + (n + i - 1) % STAGES * 8);
                }
#pragma unroll
                for (int at = 0; at < OUTPUTS; at++) {
                    sum[at] *= factors[at / 2 % 2];
                }
                pack(weights, scores);
            }
            n += now.tiles;
            startValues(sum, weights, valueOperand, valuesFull, n - 1);
            asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(WARPGROUP) : "memory"); // nobody reads queries any more
            isThere = next();
            waitForProducts<0>();
            pin(sum);
            if (lane == 0) {
                arrive(valuesFree + (n - 1) % STAGES * 8);
            }

#pragma unroll
            for (int half = 0; half < 2; half++) {
                float total = sums[half];
                total += __shfl_xor_sync(FULL_WARP, total, 1);
                total += __shfl_xor_sync(FULL_WARP, total, 2);
                float inverse = 1.0f / total;
                int row = now.base + group * 64 + warp * 16 + lane / 4 + half * 8;
                if (row < now.rows && splits > 1) {
                    long long at = ((long long) (now.firstRow + row) * splits + now.split) * heads + now.head;
                    if (lane % 4 == 0) {
                        *(float2*) (partialMeta + at * 2) = make_float2(highest[half] * scaleLog2, total);
                    }
                    float* target = partial + at * HEAD_DIM + lane % 4 * 2;
#pragma unroll
                    for (int i = 0; i < OUTPUTS; i += 4) {
                        *(float2*) (target + i * 2) = make_float2(sum[i + half * 2], sum[i + half * 2 + 1]);
                    }
                } else if (row < now.rows) {
                    bf16* target = out + (long long) (now.firstRow + row) * outStride + (long long) now.head * HEAD_DIM
                            + lane % 4 * 2;
#pragma unroll
                    for (int i = 0; i < OUTPUTS; i += 4) {
                        *(u32*) (target + i * 2) = packPair(sum[i + half * 2] * inverse, sum[i + half * 2 + 1] * inverse);
                    }
                }
            }
        }
    }
}

// A warp for each row and head. What the predecessor writes is not __restrict__: it must not be read in front of
// the wait.
extern "C" __global__ void __launch_bounds__(256)
        merge_prefill(const float* partial, const float* partialMeta, bf16* __restrict__ out,
                long long outStride, const int* __restrict__ queryStart, int splits, int heads) {
    waitForPredecessor();
    releaseSuccessor();
    int lane = threadIdx.x % 32;
    int head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    long long row = queryStart[0] + blockIdx.x;
    if (head >= heads || lane * 4 >= HEAD_DIM) {
        return;
    }
    float top = NEGATIVE_INFINITY, total = 0.0f;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int split = 0; split < splits; split++) {
        long long place = (row * splits + split) * heads + head;
        float2 meta = *(const float2*) (partialMeta + place * 2);
        if (meta.y > 0.0f) { // a sum of 0: nothing of it was seen, and nothing may be written
            float4 values = *(const float4*) (partial + place * HEAD_DIM + lane * 4);
            float newTop = fmaxf(top, meta.x);
            float old = exp2Fast(top - newTop), factor = exp2Fast(meta.x - newTop);
            top = newTop;
            total = total * old + meta.y * factor;
            sum.x = sum.x * old + values.x * factor;
            sum.y = sum.y * old + values.y * factor;
            sum.z = sum.z * old + values.z * factor;
            sum.w = sum.w * old + values.w * factor;
        } else if (meta.y != meta.y) { // what was not a number stays so
            total = meta.y;
        }
    }
    float inverse = 1.0f / total;
    *(uint2*) (out + row * outStride + (long long) head * HEAD_DIM + lane * 4) =
            make_uint2(packPair(sum.x * inverse, sum.y * inverse), packPair(sum.z * inverse, sum.w * inverse));
}

#endif
