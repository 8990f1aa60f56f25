// Products of 1 to 8 rows with a weight matrix, for decode steps of small batches, at the rate of the memory:
// out (rows, outs) = x (rows, ins) * weights^T, weights (outs, ins) row-major, bf16, sums in f32. Optionally the rows are
// normalised first (root mean square, `norm` is its weight, 0 for none), and the result is added to a residual, or is
// the SiLU gate of a stacked gate and up, or stays f32 for logits.
//
// A block computes 16 outputs of each row (16 gates and their 16 ups); its warps take turns along `ins`. The weights are
// the 16-row operand of mma.sync, the rows of x its 8 columns. Within 32 elements the order of the sum is free, so a
// lane's 16 bytes of a weight row are its fragments of two products as they are, and nothing passes through shared
// memory. The norm's factor of a row is a by-product: its squares are summed where x passes by, and it is applied to
// the sums. A row's result does not depend on the other rows nor on their number.
//
// Launch: grid (ceil(outs / 16)), block 256. ins is a multiple of 8. Stateless. With programmatic dependent launch the
// first weights are under way before the predecessor has ended; it must not write weights or norm.
//
// Sources: the idea of weights straight from memory into tensor core fragments, E. Frantar et al., "MARLIN" (2024); norm
// and gate within the product, HazyResearch's "Look Ma, No Bubbles!" low-latency Llama megakernel (2025).

#include "common.cuh"

#ifndef WARPS
#define WARPS 4
#endif
#ifndef BLOCKS
#define BLOCKS 4
#endif
#define STEP 32 // elements of `ins` a warp takes at once
#ifndef AHEAD
#define AHEAD 4 // tiles of 16 outputs x STEP a warp has under way while it works on as many
#endif

enum Epilogue { PLAIN, SILU, LOGITS };

__device__ __forceinline__ uint4 streamed(const bf16* address) {
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(address));
    return words;
}

// The weights of some steps of one lane: rows lane / 4 and lane / 4 + 8 of each tile of 16 outputs.
template <int TILES>
struct Weights {
    uint4 words[AHEAD / TILES][TILES][2];
};

template <int TILES>
__device__ __forceinline__ void load(Weights<TILES>& weights, const bf16* const (&rows)[TILES][2], int at, int ins) {
#pragma unroll
    for (int i = 0; i < AHEAD / TILES; i++) {
        int k = at + i * WARPS * STEP;
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                weights.words[i][tile][half] = k < ins ? streamed(rows[tile][half] + k) : make_uint4(0, 0, 0, 0);
            }
        }
    }
}

template <int TILES, Epilogue EPILOGUE>
__device__ __forceinline__ void multiply(const bf16* x, const bf16* __restrict__ norm, float eps,
        const bf16* __restrict__ matrix, const bf16* residual, void* out, int rows, int outs, int ins) {
    constexpr int STEPS = AHEAD / TILES;
    __shared__ float parts[WARPS][TILES][16][8];
    __shared__ float squareParts[WARPS][8];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bf16* weightRows[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = min(blockIdx.x * 16 + half * 8 + lane / 4, outs - 1) + tile * outs;
            weightRows[tile][half] = matrix + (long long) row * ins;
        }
    }
    int at = warp * STEP + lane % 4 * 8;
    Weights<TILES> weights;
    load<TILES>(weights, weightRows, at, ins);
    waitForPredecessor();
    releaseSuccessor();

    const bf16* xRow = x + (long long) (lane / 4) * ins;
    bool hasRow = lane / 4 < rows;
    float sums[TILES][4] = {};
    float squares = 0.0f;
    while (true) {
        uint4 inputs[STEPS];
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            int k = at + i * WARPS * STEP;
            inputs[i] = hasRow && k < ins ? *(const uint4*) (xRow + k) : make_uint4(0, 0, 0, 0);
        }
        if (norm != 0) {
#pragma unroll
            for (int i = 0; i < STEPS; i++) {
                int k = at + i * WARPS * STEP;
                float values[8], scales[8];
                unpack8(inputs[i], values);
                unpack8(hasRow && k < ins ? *(const uint4*) (norm + k) : make_uint4(0, 0, 0, 0), scales);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    squares += values[j] * values[j];
                    values[j] *= scales[j];
                }
                inputs[i] = pack8(values);
            }
        }
        Weights<TILES> current = weights;
        at += STEPS * WARPS * STEP;
        bool more = at - lane % 4 * 8 < ins;
        if (more) {
            load<TILES>(weights, weightRows, at, ins);
        }
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
                uint4 low = current.words[i][tile][0], high = current.words[i][tile][1];
                u32 first[4] = {low.x, high.x, low.y, high.y};
                u32 second[4] = {low.z, high.z, low.w, high.w};
                multiplyAdd(sums[tile], first, inputs[i].x, inputs[i].y);
                multiplyAdd(sums[tile], second, inputs[i].z, inputs[i].w);
            }
        }
        if (!more) {
            break;
        }
    }

    squares += __shfl_xor_sync(FULL_WARP, squares, 1);
    squares += __shfl_xor_sync(FULL_WARP, squares, 2);
    if (lane % 4 == 0) {
        squareParts[warp][lane / 4] = squares;
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            parts[warp][tile][lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = sums[tile][i];
        }
    }
    __syncthreads();
    int row = threadIdx.x / 16, output = blockIdx.x * 16 + threadIdx.x % 16;
    if (row >= rows || output >= outs) {
        return;
    }
    float totals[TILES] = {};
    float square = 0.0f;
#pragma unroll
    for (int other = 0; other < WARPS; other++) {
        square += squareParts[other][row];
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            totals[tile] += parts[other][tile][threadIdx.x % 16][row];
        }
    }
    float scale = norm != 0 ? rsqrtf(square / ins + eps) : 1.0f;
    long long place = (long long) row * outs + output;
    float value = totals[0] * scale;
    if (EPILOGUE == LOGITS) {
        ((float*) out)[place] = value;
        return;
    }
    if (EPILOGUE == SILU) {
        value = value / (1.0f + exp2Fast(-value * LOG2_E)) * (totals[TILES - 1] * scale);
    } else if (residual != 0) {
        value += __uint_as_float((u32) residual[place] << 16);
    }
    ((bf16*) out)[place] = toBf16(value);
}

// out = [norm](x) * weights^T [+ residual]; out may be the residual.
extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)
        matvec(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights,
                const bf16* residual, bf16* out, int rows, int outs, int ins) {
    multiply<1, PLAIN>(x, norm, eps, weights, residual, out, rows, outs, ins);
}

// out = silu([norm](x) * gate^T) * ([norm](x) * up^T); weights (2 * outs, ins), gate first.
extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)
        matvec_silu(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights, bf16* out,
                int rows, int outs, int ins) {
    multiply<2, SILU>(x, norm, eps, weights, 0, out, rows, outs, ins);
}

// The same as matvec in f32, without a residual.
extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS)
        matvec_logits(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights,
                float* out, int rows, int outs, int ins) {
    multiply<1, LOGITS>(x, norm, eps, weights, 0, out, rows, outs, ins);
}
