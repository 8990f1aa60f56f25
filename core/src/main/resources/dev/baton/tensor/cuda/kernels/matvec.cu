// Products of 1 to 8 rows with a weight matrix, for decode steps of small batches, at the rate of the memory:
// out (rows, outs) = x (rows, ins) * weights^T, weights (outs, ins) row-major, bf16, sums in f32. The rows are normalised
// first where the name says so (root mean square, `norm` is its weight); the result is added to a residual, or is the
// SiLU gate of a stacked gate and up, or stays f32 for logits.
//
// A block computes 16 outputs of each row, or 8 behind a gate; its warps take turns along `ins`. The weights are the
// 16-row operand of mma.sync, the rows of x its 8 columns. Within 32 elements the order of the sum is free, so a lane's
// 16 bytes of a weight row are its fragments of two products as they are, and nothing passes through shared memory. The
// norm's factor of a row is a by-product: its squares are summed where x passes by, and it is applied to the sums. A
// row's result does not depend on the other rows nor on their number.
//
// Launch: grid (ceil(outs / 16)), matvec_norm_silu (ceil(outs / 8)), block 256. ins is a multiple of 8. Stateless. With
// programmatic dependent launch the first weights are under way before the predecessor has ended; it must not write
// weights or norm.
//
// Sources: the idea of weights straight from memory into tensor core fragments, E. Frantar et al., "MARLIN" (2024); norm
// and gate within the product, HazyResearch's "Look Ma, No Bubbles!" low-latency Llama megakernel (2025).

#include "common.cuh"

#define WARPS 8
#define STEP 32 // elements of `ins` a warp takes at once

enum Epilogue { PLAIN, SILU, LOGITS };

__device__ __forceinline__ uint4 streamed(const bf16* address) {
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(address));
    return words;
}

// Starts the reads of AHEAD steps of a lane's two weight rows.
template <int AHEAD>
__device__ __forceinline__ void load(uint4 (&words)[AHEAD][2], const bf16* const (&rows)[2], int at, int ins) {
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        int k = at + i * WARPS * STEP;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            words[i][half] = k < ins ? streamed(rows[half] + k) : make_uint4(0, 0, 0, 0);
        }
    }
}

// AHEAD is the number of steps whose weights are under way while a warp works on as many.
template <int AHEAD, Epilogue EPILOGUE>
__device__ __forceinline__ void multiply(const bf16* x, const bf16* __restrict__ norm, float eps,
        const bf16* __restrict__ matrix, const bf16* residual, void* out, int rows, int outs, int ins) {
    constexpr int OUTPUTS = EPILOGUE == SILU ? 8 : 16; // of a block; 8 gates and their 8 ups are 16 weight rows too
    __shared__ float parts[WARPS][16][8];
    __shared__ float squareParts[WARPS][8];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bf16* weightRows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = EPILOGUE == SILU ? min(blockIdx.x * 8 + lane / 4, outs - 1) + half * outs
                                   : min(blockIdx.x * 16 + half * 8 + lane / 4, outs - 1);
        weightRows[half] = matrix + (long long) row * ins;
    }
    int at = warp * STEP + lane % 4 * 8;
    uint4 weights[AHEAD][2];
    load<AHEAD>(weights, weightRows, at, ins);
    waitForPredecessor();
    releaseSuccessor();

    const bf16* xRow = x + (long long) (lane / 4) * ins;
    bool hasRow = lane / 4 < rows;
    float sums[4] = {};
    float squares = 0.0f;
    while (true) {
        uint4 inputs[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int k = at + i * WARPS * STEP;
            inputs[i] = hasRow && k < ins ? *(const uint4*) (xRow + k) : make_uint4(0, 0, 0, 0);
        }
        if (norm != 0) {
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
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
        uint4 current[AHEAD][2];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            current[i][0] = weights[i][0];
            current[i][1] = weights[i][1];
        }
        at += AHEAD * WARPS * STEP;
        bool more = at - lane % 4 * 8 < ins;
        if (more) {
            load<AHEAD>(weights, weightRows, at, ins);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            uint4 low = current[i][0], high = current[i][1];
            u32 first[4] = {low.x, high.x, low.y, high.y};
            u32 second[4] = {low.z, high.z, low.w, high.w};
            multiplyAdd(sums, first, inputs[i].x, inputs[i].y);
            multiplyAdd(sums, second, inputs[i].z, inputs[i].w);
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
    for (int i = 0; i < 4; i++) {
        parts[warp][lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = sums[i];
    }
    __syncthreads();
    int row = threadIdx.x / OUTPUTS, mine = threadIdx.x % OUTPUTS, output = blockIdx.x * OUTPUTS + mine;
    if (row >= rows || output >= outs) {
        return;
    }
    float total = 0.0f, up = 0.0f, square = 0.0f;
#pragma unroll
    for (int other = 0; other < WARPS; other++) {
        square += squareParts[other][row];
        total += parts[other][mine][row];
        up += EPILOGUE == SILU ? parts[other][mine + 8][row] : 0.0f;
    }
    float scale = norm != 0 ? rsqrtf(square / ins + eps) : 1.0f;
    long long place = (long long) row * outs + output;
    float value = total * scale;
    if (EPILOGUE == LOGITS) {
        ((float*) out)[place] = value;
        return;
    }
    if (EPILOGUE == SILU) {
        value = value / (1.0f + exp2Fast(-value * LOG2_E)) * (up * scale);
    } else if (residual != 0) {
        value += __uint_as_float((u32) residual[place] << 16);
    }
    ((bf16*) out)[place] = toBf16(value);
}

// out = x * weights^T [+ residual]; out may be the residual.
extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)
        matvec(const bf16* x, const bf16* __restrict__ weights, const bf16* residual, bf16* out, int rows, int outs,
                int ins) {
    multiply<4, PLAIN>(x, 0, 0.0f, weights, residual, out, rows, outs, ins);
}

// out = norm(x) * weights^T.
extern "C" __global__ void __launch_bounds__(WARPS * 32, 3)
        matvec_norm(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights, bf16* out,
                int rows, int outs, int ins) {
    multiply<2, PLAIN>(x, norm, eps, weights, 0, out, rows, outs, ins);
}

// out = silu(norm(x) * gate^T) * (norm(x) * up^T); weights (2 * outs, ins), gate first.
extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)
        matvec_norm_silu(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights,
                bf16* out, int rows, int outs, int ins) {
    multiply<4, SILU>(x, norm, eps, weights, 0, out, rows, outs, ins);
}

// The same as matvec_norm in f32.
extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)
        matvec_norm_logits(const bf16* x, const bf16* __restrict__ norm, float eps, const bf16* __restrict__ weights,
                float* out, int rows, int outs, int ins) {
    multiply<4, LOGITS>(x, norm, eps, weights, 0, out, rows, outs, ins);
}
