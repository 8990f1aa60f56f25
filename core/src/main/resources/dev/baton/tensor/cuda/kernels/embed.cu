// Copies rows of a table: out[row] = table[tokenIds[row]], (rows, hidden) out of (vocab, hidden), bf16. An id below 0
// stands for the one at its complement in `chosen`, if that is given. An id outside the table gives a row of zeros. Also
// picks rows out of activations (ids are then row numbers).
//
// Launch: grid (rows), block 128. Hidden is a multiple of 8. Stateless; reads its inputs only.
//
// And join_ranks: out[row][rank] = parts[rank][row], vectors of 16 bytes. Launch: grid (ceil(vectors / 256), rows,
// ranks), block 256.

#include "common.cuh"

extern "C" __global__ void __launch_bounds__(128)
        embed(const int* tokenIds, const int* chosen, const bf16* table, bf16* __restrict__ out, int hidden, int vocab) {
    waitForPredecessor();
    releaseSuccessor();
    int id = tokenIds[blockIdx.x];
    id = id < 0 && chosen != 0 ? chosen[~id] : id;
    bool known = id >= 0 && id < vocab;
    const uint4* source = (const uint4*) (table + (long long) (known ? id : 0) * hidden);
    uint4* target = (uint4*) (out + (long long) blockIdx.x * hidden);
    for (int i = threadIdx.x; i < hidden / 8; i += 128) {
        target[i] = known ? source[i] : make_uint4(0, 0, 0, 0);
    }
}

extern "C" __global__ void __launch_bounds__(256) join_ranks(const uint4* parts, uint4* __restrict__ out, int vectors) {
    waitForPredecessor();
    releaseSuccessor();
    int at = blockIdx.x * 256 + threadIdx.x;
    long long row = blockIdx.y, rows = gridDim.y, rank = blockIdx.z, ranks = gridDim.z;
    if (at < vectors) {
        out[(row * ranks + rank) * vectors + at] = parts[(rank * rows + row) * vectors + at];
    }
}
