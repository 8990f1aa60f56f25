// What all kernels share: bf16 as raw 16-bit words, reductions over a warp and a block, asynchronous copies, and
// the two tensor core primitives of Ampere and later (ldmatrix, mma.sync m16n8k16). No include besides this one is
// needed: everything is inline PTX, so NVRTC needs no CUDA headers.
//
// Source: NVIDIA's PTX ISA, sections on cvt, cp.async, ldmatrix, mma and griddepcontrol (fragment layouts there).

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef HEAD_DIM
#define HEAD_DIM 128
#endif
#ifndef SPLIT_TOKENS
#define SPLIT_TOKENS 512
#endif

#ifndef COPY_HINT
#define COPY_HINT ".L2::128B"
#endif
#define FULL_WARP 0xffffffffu
#define NEGATIVE_INFINITY __int_as_float(0xff800000)
#define LOG2_E 1.4426950408889634f

__device__ __forceinline__ float lowFloat(u32 pair) { return __uint_as_float(pair << 16); }

__device__ __forceinline__ float highFloat(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// Two floats rounded to the nearest bf16, the first one in the low half.
__device__ __forceinline__ u32 packPair(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ __forceinline__ bf16 toBf16(float value) { return (bf16) packPair(value, 0.0f); }

__device__ __forceinline__ void unpack8(uint4 words, float (&values)[8]) {
    values[0] = lowFloat(words.x);
    values[1] = highFloat(words.x);
    values[2] = lowFloat(words.y);
    values[3] = highFloat(words.y);
    values[4] = lowFloat(words.z);
    values[5] = highFloat(words.z);
    values[6] = lowFloat(words.w);
    values[7] = highFloat(words.w);
}

__device__ __forceinline__ uint4 pack8(const float (&values)[8]) {
    return make_uint4(packPair(values[0], values[1]), packPair(values[2], values[3]), packPair(values[4], values[5]),
            packPair(values[6], values[7]));
}

// 2 to the power of x on the special function unit: relative error about 2^-22, and 0 for minus infinity.
__device__ __forceinline__ float exp2Fast(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Programmatic dependent launch: a kernel may start before its predecessor in the stream has ended, and waits here
// before it touches anything that one wrote. Does nothing where the launch did not ask for it. What a predecessor may
// have written must not be `const __restrict__`: the compiler could move such reads in front of the wait.
__device__ __forceinline__ void waitForPredecessor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// From here on the successor's blocks may take free places on the chip; they still wait for this kernel's end.
__device__ __forceinline__ void releaseSuccessor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float warpSum(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    }
    return value;
}

// The sum over a block of THREADS, in the same order in every run, for every thread. Once a kernel and array.
template <int THREADS>
__device__ __forceinline__ float blockSum(float value, float (&warpSums)[THREADS / 32]) {
    value = warpSum(value);
    if ((threadIdx.x & 31) == 0) {
        warpSums[threadIdx.x / 32] = value;
    }
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < THREADS / 32; warp++) {
        sum += warpSums[warp];
    }
    return sum;
}

__device__ __forceinline__ u32 sharedAddress(const void* pointer) {
    return (u32) __cvta_generic_to_shared(pointer);
}

// 16 bytes from device to shared memory past the L1; writes zeros and reads nothing if not `valid`.
__device__ __forceinline__ void copyAsync16(u32 target, const void* source, bool valid) {
    asm volatile("cp.async.cg.shared.global" COPY_HINT " [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
}

// A read from the L2 that stays where it is written: the compiler otherwise moves reads down to their first use, and a
// batch of reads that should be under way together becomes a chain.
__device__ __forceinline__ float4 readNow(const float* address) {
    float4 values;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(values.x), "=f"(values.y), "=f"(values.z), "=f"(values.w)
                 : "l"(address)
                 : "memory");
    return values;
}

__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's committed groups are under way.
template <int PENDING>
__device__ __forceinline__ void waitForCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Barriers in shared memory that count arrivals and bytes, and bulk copies that complete on them: Hopper and later.
__device__ __forceinline__ void initBarrier(u32 barrier, int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void arrive(u32 barrier) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void arriveExpecting(u32 barrier, u32 bytes) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared.b64 state, [%0], %1;\n}" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void waitForBarrier(u32 barrier, int parity) {
    asm volatile("{\n.reg .pred done;\nRETRY:\nmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n@done bra DONE;\n"
                 "bra RETRY;\nDONE:\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

// For what is read once: it leaves the L2 first, and what others keep there stays.
__device__ __forceinline__ u64 readOncePolicy() {
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// From device to shared memory, a multiple of 16 bytes; `barrier` counts the bytes.
__device__ __forceinline__ void copyBulk(u32 target, const void* source, u32 bytes, u32 barrier, u64 policy) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
                 "%4;" ::"r"(target), "l"(source), "r"(bytes), "r"(barrier), "l"(policy)
                 : "memory");
}

// Four 8x8 matrices of 16-bit words; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void loadMatrices(u32 (&words)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void loadMatricesTransposed(u32 (&words)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
}

// sums (16 x 8, f32) += a (16 x 16) * b (16 x 8).
__device__ __forceinline__ void multiplyAdd(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
