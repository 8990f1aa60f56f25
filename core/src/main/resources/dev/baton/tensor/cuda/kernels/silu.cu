// The gate of a Llama feed-forward: out = gate * sigmoid(gate) * up, (rows, intermediate) out of rows with the gate in
// front of up, (rows, 2 * intermediate), bf16, computed in f32.
//
// Launch: grid (ceil(intermediate / 2048), rows), block 256; intermediate is a multiple of 8. Stateless.

#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
        silu_multiply(const bf16* gateUp, bf16* __restrict__ out, int intermediate) {
    waitForPredecessor();
    releaseSuccessor();
    int at = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= intermediate) {
        return;
    }
    const bf16* row = gateUp + (long long) blockIdx.y * 2 * intermediate + at;
    float gates[8], ups[8];
    unpack8(*(const uint4*) row, gates);
    unpack8(*(const uint4*) (row + intermediate), ups);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        gates[i] = gates[i] / (1.0f + exp2Fast(-gates[i] * LOG2_E)) * ups[i];
    }
    *(uint4*) (out + (long long) blockIdx.y * intermediate + at) = pack8(gates);
}
