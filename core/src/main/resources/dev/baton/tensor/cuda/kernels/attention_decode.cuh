// What the two versions of paged_decode share: the items of work, the running softmax, and how parts are put together.
// See attention_decode.cu for shapes, meaning and sources.

#define WARPS 4 // that attend to an item
#define COLUMNS (HEAD_DIM / 8) // tiles of 8 output columns
#define MAX_SEQUENCES 256

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

// Takes a tile's scores into the running softmax: their weights in the layout of the next product's left factor.
// isSeen(i) says whether the token of this thread's i-th score of a row counts.
template <typename Seen>
__device__ __forceinline__ void weigh(Running& running, const float (&scores)[2][4], u32 (&weights)[4], int group,
        float scale, Seen isSeen) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (half == 1 && group <= 8) {
            break;
        }
        float values[4];
        float top = running.highest[half];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            values[i] = isSeen(i) ? scores[i / 2][half * 2 + i % 2] * scale : NEGATIVE_INFINITY;
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
}

// The bounds of the splits of a sequence: with a window, those wholly in front of it are left out.
__device__ __forceinline__ int windowStart(int context, int window) {
    return window > 0 && context > window ? context - window : 0;
}

__device__ __forceinline__ int countSplits(int context, int window) {
    return context <= 0 ? 0
                        : (context + SPLIT_TOKENS - 1) / SPLIT_TOKENS - windowStart(context, window) / SPLIT_TOKENS;
}

struct Batch {
    const int* __restrict__ contextTokens;
    const int* __restrict__ blockTables;
    const unsigned short* firstSlot; // (sequences + 1), shared
    const unsigned short* tail;      // (sequences), shared: tokens in the last split
    int maxBlocks;
    int sequences;
    int window;
};

// An item of work.
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

// What the warps that attended to an item leave of it, beside the sums: outs, (WARPS, group, HEAD_DIM) f32.
struct Parts {
    float highest[WARPS][16];
    float sums[WARPS][16];
};

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
__device__ __forceinline__ void combine(const Parts& parts, const float* outs, int group, bool whole, float* part,
        float* partMeta, bf16* result) {
    int lane = threadIdx.x % 32;
    for (int row = 0; row < group; row++) {
        float top = NEGATIVE_INFINITY;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) {
            top = fmaxf(top, parts.highest[warp][row]);
        }
        float factors[WARPS];
        float sum = 0.0f;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++) {
            factors[warp] = rescale(parts.highest[warp][row], top);
            sum += parts.sums[warp][row] * factors[warp];
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

// By one warp: merges the parts of MEMBERS query heads of a key head, `first` and following, that all blocks have
// written. The reads of all of them are under way together: one after the other they would take longer than an item.
template <int MEMBERS>
__device__ __forceinline__ void mergeHeads(int sequence, int kvHead, int first, const float* partial,
        const float* partialMeta, const unsigned short* firstSlot, int heads, int group, bf16* out,
        long long outStride) {
    int lane = threadIdx.x % 32;
    int splits = firstSlot[sequence + 1] - firstSlot[sequence];
    long long place = (long long) firstSlot[sequence] * heads + kvHead * group + first;
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
                *(uint2*) (out + sequence * outStride + (long long) (kvHead * group + first + member) * HEAD_DIM
                        + at) = quotient(outs[member], sum);
            }
        }
    }
}

// By one warp: the first slot of each sequence, and the tokens in its last split.
__device__ __forceinline__ void layOutItems(const int* __restrict__ contextTokens, int sequences, int window,
        unsigned short* firstSlot, unsigned short* tail) {
    int lane = threadIdx.x % 32;
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
    }
}

// By one warp: zeros for the sequences without context.
__device__ __forceinline__ void clearEmpty(const int* __restrict__ contextTokens, int sequences, int heads,
        bf16* __restrict__ out, long long outStride) {
    for (int sequence = blockIdx.x; sequence < sequences; sequence += gridDim.x) {
        if (contextTokens[sequence] <= 0) {
            for (int at = threadIdx.x % 32 * 2; at < heads * HEAD_DIM; at += 64) {
                *(u32*) (out + sequence * outStride + at) = 0;
            }
        }
    }
}
