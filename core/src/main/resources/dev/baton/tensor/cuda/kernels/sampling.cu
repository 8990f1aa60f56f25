// Chooses the next token of rows of logits as the CPU's sampler does, in the same order: what may come (one bit a
// token), biases, repetition, frequency and presence penalty, then the likeliest token, or temperature, min-p, top-k,
// top-p and one draw by a random number of the host's. Three kernels, launched one behind the other for the same rows.
//
// A weight is exp((logit - highest) / temperature) in steps of 2^-44 as an integer, so that sums are the same in any
// order and a row's token does not depend on the grid or the batch; what weighs less is never drawn. Min-p, top-k and
// top-p each keep the first tokens in the order of logits (ties: the lowest id first), so each is a place in that
// order. A place is found without sorting the row: by the sums of 2,048 bins of logits, then by sorting the one bin
// that holds it; a bin that is too large for that is halved until the part with the place is not. Without top-k and
// top-p the order of a draw is that of the ids, as on the CPU.
//
// Sources: selecting by thresholds instead of sorting, Z. Ye et al., "Sorting-Free GPU Kernels for LLM Sampling"
// (FlashInfer, 2025), whose rejection rounds need several random numbers a token and are not used here; bitonic sort,
// K. E. Batcher (1968); counts of tokens kept on the device for the penalties, as in vLLM.

#include "common.cuh"

#define CHUNK 4096 // tokens of a thread block of the first two kernels
#define CHUNK_THREADS 256
#define ROW_THREADS 1024
#define MAX_CHUNKS 128
#define BINS (2 * ROW_THREADS)
#define BINS_A_UNIT 64.0 // of logit over temperature; the last weight that counts is 30.5 units below the highest
#define SORTED 4096
#define UNIT 17592186044416.0 // 2^44
#define IN_PROMPT 0x80000000u

// What the row's token is if there is none.
#define NOT_FINITE (-1)
#define NONE_LEFT (-2)
#define OUT_OF_RANGE (-3)

struct Choice {
    int row;           // of the logits, and of the token
    int mask;          // line of the masks, or -1
    int counts;        // line of the counts, or -1
    int firstBias;
    int numBiases;
    int topK;          // 0 for all
    float temperature; // 0 for the likeliest
    float minP;
    float topP;
    float repetition;
    float frequency;
    float presence;
    u64 random;        // a number in [0, 1), times 2^64
    u64 unused;
};

// Of one choice; all zero between launches but for `chunkWeights`.
struct State {
    u64 best; // the first token's rank
    u32 notFinite;
    u32 unused;
    u64 weights[BINS];
    u64 chunkWeights[MAX_CHUNKS];
    u32 counts[BINS];
};

__device__ __forceinline__ bool isFinite(float value) {
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

__device__ __forceinline__ u32 ordered(float value) {
    u32 bits = __float_as_uint(value + 0.0f); // -0 becomes 0
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Greater for higher logits, then for lower ids.
__device__ __forceinline__ u64 rankOf(float logit, int token) {
    return (u64) ordered(logit) << 32 | (0xffffffffu - (u32) token);
}

__device__ __forceinline__ int tokenOf(u64 rank) { return (int) (0xffffffffu - (u32) rank); }

__device__ __forceinline__ float logitOf(u64 rank) {
    u32 bits = (u32) (rank >> 32);
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__device__ __forceinline__ bool isRanked(const Choice& choice) { return choice.topK > 0 || choice.topP < 1.0f; }

__device__ __forceinline__ double distanceOf(float logit, float highest, const Choice& choice) {
    return ((double) logit - highest) / choice.temperature;
}

// Not inlined: it stands in a dozen places.
__device__ __noinline__ u64 weightOf(double distance, float minP) {
    if (!(distance > -31.0)) {
        return 0;
    }
    double weight = exp(distance);
    return weight >= minP ? (u64) (weight * UNIT) : 0;
}

__device__ __forceinline__ int binOf(double distance) { return min(BINS - 1, (int) (-distance * BINS_A_UNIT)); }

// The logits as the request wants them, and the first of them.
//
// Launch: grid (ceil(vocab / 4096), choices), block 256. masks (lines, 2 ceil(vocab / 64)), a set bit for what may come;
// counts (lines, vocab): how often a token is in the output, and the highest bit if it is in the prompt.
extern "C" __global__ void __launch_bounds__(CHUNK_THREADS)
        sample_adjust(const Choice* choices, const float* logits, float* __restrict__ adjusted, State* states,
                const u32* masks, const int* biasedTokens, const float* biases, const u32* counts, int vocab) {
    __shared__ float values[CHUNK];
    waitForPredecessor();
    releaseSuccessor();
    Choice choice = choices[blockIdx.y];
    int first = blockIdx.x * CHUNK;
    int end = min(CHUNK, vocab - first);
    const float* row = logits + (long long) choice.row * vocab + first;
    const u32* mask = masks + (long long) choice.mask * ((vocab + 63) / 64 * 2) + first / 32;
    bool finite = true;
#pragma unroll 4
    for (int i = threadIdx.x; i < end; i += CHUNK_THREADS) {
        float value = row[i];
        finite = finite && isFinite(value);
        bool allowed = choice.mask < 0 || (mask[i / 32] >> (i % 32) & 1u) != 0;
        values[i] = allowed ? value : NEGATIVE_INFINITY;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < choice.numBiases; i += CHUNK_THREADS) {
        int at = biasedTokens[choice.firstBias + i] - first;
        if (at >= 0 && at < end) { // a token has one bias
            values[at] = __fadd_rn(values[at], biases[choice.firstBias + i]);
        }
    }
    __syncthreads();
    const u32* count = counts + (long long) choice.counts * vocab + first;
    float* out = adjusted + (long long) blockIdx.y * vocab + first;
    u64 best = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < end; i += CHUNK_THREADS) {
        float value = values[i];
        u32 seen = choice.counts >= 0 ? count[i] : 0;
        if (seen != 0) {
            value = value > 0.0f ? value / choice.repetition : __fmul_rn(value, choice.repetition);
        }
        u32 times = seen & ~IN_PROMPT;
        if (times != 0) {
            value = __fsub_rn(value, __fadd_rn(__fmul_rn(choice.frequency, (float) times), choice.presence));
        }
        value = value == value ? value : NEGATIVE_INFINITY;
        out[i] = value;
        best = max(best, rankOf(value, first + i));
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        best = max(best, __shfl_xor_sync(FULL_WARP, best, distance));
    }
    if (threadIdx.x % 32 == 0) {
        atomicMax(&states[blockIdx.y].best, best);
    }
    if (!finite) {
        states[blockIdx.y].notFinite = 1;
    }
}

// The weights of the tokens, summed over bins of logits, or in the order of the ids where that is the draw's.
//
// Launch: as before.
extern "C" __global__ void __launch_bounds__(CHUNK_THREADS)
        sample_weigh(const Choice* choices, const float* adjusted, State* states, int vocab) {
    __shared__ u64 weights[BINS];
    __shared__ u32 counts[BINS];
    __shared__ u64 warpSums[CHUNK_THREADS / 32];
    waitForPredecessor();
    releaseSuccessor();
    Choice choice = choices[blockIdx.y];
    State* state = states + blockIdx.y;
    float highest = logitOf(state->best);
    if (choice.temperature == 0.0f || !isFinite(highest)) {
        return;
    }
    bool ranked = isRanked(choice);
    if (ranked) {
        for (int bin = threadIdx.x; bin < BINS; bin += CHUNK_THREADS) {
            weights[bin] = 0;
            counts[bin] = 0;
        }
        __syncthreads();
    }
    int first = blockIdx.x * CHUNK;
    int end = min(CHUNK, vocab - first);
    const float* row = adjusted + (long long) blockIdx.y * vocab + first;
    u64 sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < end; i += CHUNK_THREADS) {
        double distance = distanceOf(row[i], highest, choice);
        u64 weight = weightOf(distance, choice.minP);
        sum += weight;
        if (ranked && weight != 0) {
            atomicAdd(&weights[binOf(distance)], weight);
            atomicAdd(&counts[binOf(distance)], 1u);
        }
    }
    if (ranked) {
        __syncthreads();
        for (int bin = threadIdx.x; bin < BINS; bin += CHUNK_THREADS) {
            if (counts[bin] != 0) {
                atomicAdd(&state->weights[bin], weights[bin]);
                atomicAdd(&state->counts[bin], counts[bin]);
            }
        }
        return;
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(FULL_WARP, sum, distance);
    }
    if (threadIdx.x % 32 == 0) {
        warpSums[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < CHUNK_THREADS / 32; warp++) {
            sum += warpSums[warp];
        }
        state->chunkWeights[blockIdx.x] = sum;
    }
}

// What the threads of a row's block share.
struct Shared {
    u64 ranks[SORTED];
    u64 warpSums[ROW_THREADS / 32];
    int bin;
    int size;
    int numRanks;
    u64 countBefore;
    u64 weightBefore;
    u64 found;   // a rank
    u64 through; // the weight up to it, with its own
};

// The sum over the threads before this one; `total` is that over all of them.
__device__ __forceinline__ u64 sumBefore(u64 value, Shared& shared, u64& total) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u64 upTo = value;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        u64 below = __shfl_up_sync(FULL_WARP, upTo, distance);
        upTo += lane >= distance ? below : 0;
    }
    if (lane == 31) {
        shared.warpSums[warp] = upTo;
    }
    __syncthreads();
    u64 before = 0, all = 0;
#pragma unroll 8
    for (int i = 0; i < ROW_THREADS / 32; i++) {
        before += i < warp ? shared.warpSums[i] : 0;
        all += shared.warpSums[i];
    }
    __syncthreads();
    total = all;
    return before + upTo - value;
}

// The token at which the weights, in the order of ids, exceed the random part of their sum.
__device__ int drawInOrder(const Choice& choice, const State& state, const float* row, float highest, int vocab,
        Shared& shared) {
    u64 total;
    u64 mine = threadIdx.x < (vocab + CHUNK - 1) / CHUNK ? state.chunkWeights[threadIdx.x] : 0;
    u64 before = sumBefore(mine, shared, total);
    u64 target = __umul64hi(choice.random, total);
    if (before <= target && target < before + mine) {
        shared.bin = threadIdx.x;
        shared.weightBefore = before;
    }
    __syncthreads();
    constexpr int EACH = CHUNK / ROW_THREADS;
    int first = shared.bin * CHUNK + threadIdx.x * EACH;
    u64 weights[EACH], sum = 0, ignored;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        weights[i] = first + i < vocab ? weightOf(distanceOf(row[first + i], highest, choice), choice.minP) : 0;
        sum += weights[i];
    }
    u64 upTo = shared.weightBefore + sumBefore(sum, shared, ignored);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (upTo <= target && target < upTo + weights[i]) {
            shared.found = first + i;
        }
        upTo += weights[i];
    }
    __syncthreads();
    return (int) shared.found;
}

// The tokens of one bin: calls `visit` with the rank and weight of each whose rank is in [low, high].
template <class Visit>
__device__ __forceinline__ void visitBin(const Choice& choice, const float* row, float highest, int vocab, int bin,
        u64 low, u64 high, Visit visit) {
    float upper = logitOf(high), lower = logitOf(low);
#pragma unroll 8
    for (int token = threadIdx.x; token < vocab; token += ROW_THREADS) {
        float logit = row[token];
        if (logit >= lower && logit <= upper) {
            double distance = distanceOf(logit, highest, choice);
            u64 rank = rankOf(logit, token);
            u64 weight = binOf(distance) == bin && rank >= low && rank <= high ? weightOf(distance, choice.minP) : 0;
            if (weight != 0) {
                visit(rank, weight);
            }
        }
    }
}

// Descending, in shared memory; `size` is a power of two.
__device__ __forceinline__ void sort(u64* ranks, int size) {
    for (int run = 2; run <= size; run *= 2) {
        for (int distance = run / 2; distance > 0; distance /= 2) {
            for (int i = threadIdx.x; i < size; i += ROW_THREADS) {
                int other = i ^ distance;
                if (other > i) {
                    u64 a = ranks[i], b = ranks[other];
                    if ((a < b) == ((i & run) == 0)) {
                        ranks[i] = b;
                        ranks[other] = a;
                    }
                }
            }
            __syncthreads();
        }
    }
}

// This thread's two bins, and what is in front of them.
struct Bins {
    u64 counts[2];
    u64 weights[2];
    u64 countBefore;
    u64 weightBefore;
};

// Finds the first token, in the order of ranks, up to which there are more than `target` tokens (BY_COUNT), or up to
// which the weights exceed `target`. Leaves its rank in `found` and the weight up to it in `through`.
template <bool BY_COUNT>
__device__ __noinline__ void select(u64 target, const Bins& bins, const Choice& choice, const float* row,
        float highest, int vocab, Shared& shared) {
    __syncthreads(); // nobody reads an earlier result any more
    if (threadIdx.x == 0) {
        shared.numRanks = 0;
    }
    u64 count = bins.countBefore, weight = bins.weightBefore;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u64 from = BY_COUNT ? count : weight;
        if (from <= target && target < from + (BY_COUNT ? bins.counts[i] : bins.weights[i])) {
            shared.bin = 2 * threadIdx.x + i;
            shared.size = (int) bins.counts[i];
            shared.countBefore = count;
            shared.weightBefore = weight;
        }
        count += bins.counts[i];
        weight += bins.weights[i];
    }
    __syncthreads();
    int bin = shared.bin, size = shared.size;
    count = shared.countBefore;
    weight = shared.weightBefore;
    // The bin's logits, and a little more: whether one is in it is asked of the bin's own formula.
    double unit = choice.temperature / BINS_A_UNIT, slack = 1e-6 * (fabs((double) highest) + BINS * unit);
    u64 high = rankOf((float) (highest - bin * unit + slack), 0);
    u64 low = rankOf(bin == BINS - 1 ? NEGATIVE_INFINITY : (float) (highest - (bin + 1) * unit - slack), -1);
    while (size > SORTED) {
        u64 middle = high - (high - low) / 2, counted, weighed, more = 0, heavier = 0;
        visitBin(choice, row, highest, vocab, bin, middle, high, [&](u64, u64 value) {
            more++;
            heavier += value;
        });
        sumBefore(more, shared, counted);
        sumBefore(heavier, shared, weighed);
        if (target < (BY_COUNT ? count + counted : weight + weighed)) {
            low = middle;
            size = (int) counted;
        } else {
            high = middle - 1;
            size -= (int) counted;
            count += counted;
            weight += weighed;
        }
    }
    visitBin(choice, row, highest, vocab, bin, low, high,
            [&](u64 rank, u64) { shared.ranks[atomicAdd(&shared.numRanks, 1)] = rank; });
    __syncthreads();
    int padded = 1;
    while (padded < size) {
        padded *= 2;
    }
    for (int i = size + threadIdx.x; i < padded; i += ROW_THREADS) {
        shared.ranks[i] = 0;
    }
    __syncthreads();
    sort(shared.ranks, padded);
    constexpr int EACH = SORTED / ROW_THREADS;
    u64 weights[EACH], sum = 0, ignored;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int at = threadIdx.x * EACH + i;
        weights[i] = at < size ? weightOf(distanceOf(logitOf(shared.ranks[at]), highest, choice), choice.minP) : 0;
        sum += weights[i];
    }
    weight += sumBefore(sum, shared, ignored);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        u64 at = threadIdx.x * EACH + i;
        bool here = BY_COUNT ? count + at == target : weight <= target && target < weight + weights[i];
        weight += weights[i];
        if (here && at < size) {
            shared.found = shared.ranks[at];
            shared.through = weight;
        }
    }
    __syncthreads();
}

__device__ int drawRanked(const Choice& choice, const State& state, const float* row, float highest, int vocab,
        Shared& shared) {
    Bins bins;
    u64 tokens, weight;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        bins.counts[i] = state.counts[2 * threadIdx.x + i];
        bins.weights[i] = state.weights[2 * threadIdx.x + i];
    }
    bins.countBefore = sumBefore(bins.counts[0] + bins.counts[1], shared, tokens);
    bins.weightBefore = sumBefore(bins.weights[0] + bins.weights[1], shared, weight);
    if (choice.topK > 0 && choice.topK < tokens) {
        select<true>(choice.topK - 1, bins, choice, row, highest, vocab, shared);
        weight = shared.through;
    }
    if (choice.topP < 1.0f) { // of the weight that top-k left
        u64 enough = (u64) ceil((double) choice.topP * (double) weight);
        select<false>(enough > 1 ? enough - 1 : 0, bins, choice, row, highest, vocab, shared);
        weight = shared.through;
    }
    select<false>(__umul64hi(choice.random, weight), bins, choice, row, highest, vocab, shared);
    return tokenOf(shared.found);
}

// The token of each choice, which is counted where there are counts. Ends the use of the states.
//
// Launch: grid (choices), block 1024.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
        sample_draw(const Choice* choices, const float* adjusted, State* states, u32* counts, int* tokens, int vocab) {
    __shared__ Shared shared;
    waitForPredecessor();
    releaseSuccessor();
    Choice choice = choices[blockIdx.x];
    State* state = states + blockIdx.x;
    const float* row = adjusted + (long long) blockIdx.x * vocab;
    u64 best = state->best;
    float highest = logitOf(best);
    int token;
    if (state->notFinite != 0) {
        token = NOT_FINITE;
    } else if (highest == NEGATIVE_INFINITY) {
        token = NONE_LEFT;
    } else if (!isFinite(highest)) {
        token = OUT_OF_RANGE;
    } else if (choice.temperature == 0.0f) {
        token = tokenOf(best);
    } else if (isRanked(choice)) {
        token = drawRanked(choice, *state, row, highest, vocab, shared);
    } else {
        token = drawInOrder(choice, *state, row, highest, vocab, shared);
    }
    __syncthreads(); // all have read the state
    for (int bin = threadIdx.x; bin < BINS; bin += ROW_THREADS) {
        state->counts[bin] = 0;
        state->weights[bin] = 0;
    }
    if (threadIdx.x == 0) {
        state->best = 0;
        state->notFinite = 0;
        tokens[choice.row] = token;
        if (choice.counts >= 0 && token >= 0) {
            counts[(long long) choice.counts * vocab + token]++;
        }
    }
}

// Counts the tokens of a sequence, of which the first are its prompt, in a line that is zero before.
//
// Launch: any grid, block 256.
extern "C" __global__ void __launch_bounds__(256)
        count_tokens(const int* tokens, int numTokens, int promptTokens, u32* counts, int vocab) {
    waitForPredecessor();
    releaseSuccessor();
    for (int i = blockIdx.x * 256 + threadIdx.x; i < numTokens; i += gridDim.x * 256) {
        if (tokens[i] >= 0 && tokens[i] < vocab) {
            if (i < promptTokens) {
                atomicOr(counts + tokens[i], IN_PROMPT);
            } else {
                atomicAdd(counts + tokens[i], 1u);
            }
        }
    }
}
