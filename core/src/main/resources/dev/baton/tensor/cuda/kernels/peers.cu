// Sums and gathered arrays of several GPUs of one process, for small arrays, without NCCL: each rank writes what it has
// into an inbox of each of the others and reads its own inbox. RANKS ranks, this one is `peers->rank`.
//
// Words travel in pairs with a generation number, 64 bits that arrive at once, so a word that has come shows it by itself:
// no barrier, no fence, one way over the link. It doubles the bytes, which is why large arrays are left to NCCL. All ranks
// add in f32 in the order of the ranks and round once: all have the same bits.
//
// An inbox has a place for each block, of two slots, which a block uses in turn. That is enough: a rank writes a slot again
// only after it has the generation in between from all others, and those sent it after they had read the slot before (rows
// and tiles of one launch are parted by __syncthreads, launches by the stream). So block b of every rank must have the same
// work, and all ranks must launch the same in the same order. The generation of a block lives on between launches in
// `peers->generations`, so that a graph can be launched again as it is.
//
// Nobody waits for ever: a thread that has waited for long looks now and then at `*peers->ended`, which the host sets when a
// rank fails, and sets it itself after PATIENCE_SECONDS. What is computed then is worthless, and the host says so.
//
// Launch: any grid up to that of the inbox, the same on all ranks, all blocks at once on the device (they wait for each
// other's ranks); block 256. With SHARED_DEVICE, for ranks on one GPU, successors are not let in while a block waits: they
// could take the room that the other rank needs.
//
// Sources: NCCL's LL protocol (flags beside the data); vLLM's custom all-reduce (one step over peer memory, two buffers);
// the one-shot all-reduce of TensorRT-LLM and FlashInfer with addition and norm behind it.

#include "norm.cuh"

#ifndef RANKS
#define RANKS 2
#endif
#ifndef SHARED_DEVICE
#define SHARED_DEVICE 0
#endif
#ifndef PATIENCE_SECONDS
#define PATIENCE_SECONDS 120
#endif

#define MAX_RANKS 8
#define HALF_BYTES (THREADS * 16)                   // half of the vectors of one part, with their generations
#define SENDER_BYTES (VECTORS * 2 * HALF_BYTES)     // what one rank sends a block in one generation
#define SLOT_BYTES ((long long) RANKS * SENDER_BYTES)
#define TIMED_OUT 2
#define OVER 0xffffffffffffffffull
#define EAGER_POLLS 1024 // about 0.3 ms
#define POLLS_A_LOOK 4096

struct Peers {
    char* inbox[MAX_RANKS]; // by rank
    u32* ended;             // in host memory: 0 as long as all is well; behind it, what was waited for in vain
    long long rank;
    long long unused[6];
    u32 generations[1]; // by block
};

// 16 bytes of a vector with the generation beside each word.
struct Packet {
    uint4 words;
    u32 flags[4];

    __device__ __forceinline__ bool isOf(u32 generation) const {
        return flags[0] == generation && flags[1] == generation && flags[2] == generation && flags[3] == generation;
    }
};

__device__ __forceinline__ void send(char* to, uint4 words, u32 generation) {
    asm volatile("{\n.reg .b64 low, high;\nmov.b64 low, {%1, %3};\nmov.b64 high, {%2, %3};\n"
                 "st.relaxed.sys.global.v2.b64 [%0], {low, high};\n}" ::"l"(to),
                 "r"(words.x), "r"(words.y), "r"(generation)
                 : "memory");
    asm volatile("{\n.reg .b64 low, high;\nmov.b64 low, {%1, %3};\nmov.b64 high, {%2, %3};\n"
                 "st.relaxed.sys.global.v2.b64 [%0], {low, high};\n}" ::"l"(to + HALF_BYTES),
                 "r"(words.z), "r"(words.w), "r"(generation)
                 : "memory");
}

__device__ __forceinline__ Packet receive(const char* from) {
    Packet packet;
    asm volatile("{\n.reg .b64 low, high;\nld.relaxed.sys.global.v2.b64 {low, high}, [%4];\n"
                 "mov.b64 {%0, %1}, low;\nmov.b64 {%2, %3}, high;\n}"
                 : "=r"(packet.words.x), "=r"(packet.flags[0]), "=r"(packet.words.y), "=r"(packet.flags[1])
                 : "l"(from)
                 : "memory");
    asm volatile("{\n.reg .b64 low, high;\nld.relaxed.sys.global.v2.b64 {low, high}, [%4];\n"
                 "mov.b64 {%0, %1}, low;\nmov.b64 {%2, %3}, high;\n}"
                 : "=r"(packet.words.z), "=r"(packet.flags[2]), "=r"(packet.words.w), "=r"(packet.flags[3])
                 : "l"(from + HALF_BYTES)
                 : "memory");
    return packet;
}

// Whether to go on waiting: when the wait began, or OVER. Rarely called.
__device__ __noinline__ u64 look(u32* ended, u64 since, int sender, u32 generation) {
    u32 word;
    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(word) : "l"(ended) : "memory");
    u64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    since = since == 0 ? now : since;
    if (word == 0 && now - since > PATIENCE_SECONDS * 1000000000ull) {
        *(volatile u32*) (ended + 1) = sender;
        *(volatile u32*) (ended + 2) = blockIdx.x;
        *(volatile u32*) (ended + 3) = generation;
        asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(ended), "r"(TIMED_OUT) : "memory");
        word = TIMED_OUT;
    }
    return word == 0 ? since : OVER;
}

// One block's meeting with the same block of the other ranks.
struct Meeting {
    Peers* peers;
    int rank;
    char* places[RANKS]; // this block's and thread's place in each rank's inbox
    const char* inbox;   // and in this one's
    u32 generation;
    u32 polls;
    u64 since;
    bool isOver; // nobody is waited for any more

    __device__ __forceinline__ explicit Meeting(Peers* peers) : peers(peers), polls(0), since(0), isOver(false) {
        rank = (int) peers->rank;
        long long place = blockIdx.x * 2 * SLOT_BYTES + threadIdx.x * 16;
        inbox = peers->inbox[rank] + place;
#pragma unroll
        for (int i = 0; i < RANKS; i++) {
            places[i] = peers->inbox[i] + place;
        }
    }

    // Once the predecessor has ended, which may have been a meeting too.
    __device__ __forceinline__ void begin() { generation = *(volatile u32*) (peers->generations + blockIdx.x); }

    // By all threads, behind a barrier of the block.
    __device__ __forceinline__ void end() {
        if (threadIdx.x == 0) {
            peers->generations[blockIdx.x] = generation;
        }
    }

    __device__ __forceinline__ void next() {
        generation++;
        polls = 0;
        since = 0;
    }

    __device__ __forceinline__ long long offset(int sender, int part) const {
        return (generation & 1) * SLOT_BYTES + sender * SENDER_BYTES + part * (2 * HALF_BYTES);
    }

    __device__ __forceinline__ void sendToAll(int part, uint4 words) const {
#pragma unroll
        for (int i = 0; i < RANKS; i++) {
            if (i != rank) {
                send(places[i] + offset(rank, part), words, generation);
            }
        }
    }

    // A rank's vectors: this one's from `own`, the others' once they have come. All are asked for at once.
    __device__ __forceinline__ void receiveAll(int part, uint4 own, uint4 (&vectors)[RANKS]) {
        Packet packets[RANKS];
#pragma unroll
        for (int i = 0; i < RANKS; i++) {
            if (i != rank) {
                packets[i] = receive(inbox + offset(i, part));
            }
        }
#pragma unroll
        for (int i = 0; i < RANKS; i++) {
            if (i != rank) {
                while (!packets[i].isOf(generation) && mayWaitFor(i)) {
                    packets[i] = receive(inbox + offset(i, part));
                }
            }
            vectors[i] = i == rank ? own : packets[i].words;
        }
    }

    // Their sum, rounded once.
    __device__ __forceinline__ uint4 sum(int part, uint4 own) {
        uint4 vectors[RANKS];
        receiveAll(part, own, vectors);
        float sums[8];
        unpack8(vectors[0], sums);
#pragma unroll
        for (int i = 1; i < RANKS; i++) {
            float values[8];
            unpack8(vectors[i], values);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                sums[j] += values[j];
            }
        }
        return pack8(sums);
    }

    __device__ __forceinline__ bool mayWaitFor(int sender) {
        if (isOver) {
            return false;
        }
        polls++;
        if (polls < EAGER_POLLS) {
            return true;
        }
        if ((polls - EAGER_POLLS) % POLLS_A_LOOK == 0) {
            since = look(peers->ended, since, sender, generation);
            isOver = since == OVER;
        }
        __nanosleep(500);
        return !isOver;
    }
};

__device__ __forceinline__ void letSuccessorIn() {
#if !SHARED_DEVICE
    releaseSuccessor();
#endif
}

// residual += sum over the ranks of delta, both rounded to bf16; out = that normalised. (rows, hidden); hidden is a
// multiple of 8, at most 2048 VECTORS. As an all-reduce in bf16 with norm.cu's add_rms_norm behind it.
extern "C" __global__ void __launch_bounds__(THREADS)
        all_reduce_add_rms_norm(const bf16* delta, bf16* residual, const bf16* __restrict__ weight, bf16* __restrict__ out,
                int rows, int hidden, float eps, Peers* peers) {
    Meeting meeting(peers);
#pragma unroll
    for (int part = 0; part < VECTORS; part++) {
        int at = (part * THREADS + threadIdx.x) * 8;
        if (at < hidden) {
            asm volatile("prefetch.global.L2 [%0];" ::"l"(weight + at));
        }
    }
    waitForPredecessor();
    letSuccessorIn();
    meeting.begin();
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        long long start = (long long) row * hidden;
        meeting.next();
        uint4 own[VECTORS], parts[VECTORS];
#pragma unroll
        for (int part = 0; part < VECTORS; part++) {
            int at = (part * THREADS + threadIdx.x) * 8;
            if (at < hidden) {
                own[part] = *(const uint4*) (delta + start + at);
                parts[part] = *(const uint4*) (residual + start + at);
            }
        }
#pragma unroll
        for (int part = 0; part < VECTORS; part++) {
            if ((part * THREADS + threadIdx.x) * 8 < hidden) {
                meeting.sendToAll(part, own[part]);
            }
        }
#pragma unroll
        for (int part = 0; part < VECTORS; part++) {
            int at = (part * THREADS + threadIdx.x) * 8;
            if (at < hidden) {
                float values[8], deltas[8];
                unpack8(meeting.sum(part, own[part]), deltas);
                unpack8(parts[part], values);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    values[i] += deltas[i];
                }
                parts[part] = pack8(values);
                *(uint4*) (residual + start + at) = parts[part];
            }
        }
        normalise(parts, weight, out + start, hidden, eps);
        __syncthreads();
    }
    meeting.end();
}

// out = sum over the ranks of in, `count` numbers, both aligned to 16 bytes; may be the same array.
extern "C" __global__ void __launch_bounds__(THREADS)
        all_reduce(const bf16* in, bf16* out, long long count, Peers* peers) {
    Meeting meeting(peers);
    waitForPredecessor();
    letSuccessorIn();
    meeting.begin();
    long long tile = (long long) gridDim.x * THREADS * 8;
    for (long long first = (long long) blockIdx.x * THREADS * 8; first < count; first += tile) {
        long long at = first + threadIdx.x * 8;
        int has = (int) min(8ll, count - at);
        meeting.next();
        if (has > 0) {
            uint4 own = make_uint4(0, 0, 0, 0);
            if (has == 8) {
                own = *(const uint4*) (in + at);
            } else {
                bf16 values[8] = {};
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    values[i] = i < has ? in[at + i] : (bf16) 0;
                }
                own = make_uint4(values[0] | (u32) values[1] << 16, values[2] | (u32) values[3] << 16,
                        values[4] | (u32) values[5] << 16, values[6] | (u32) values[7] << 16);
            }
            meeting.sendToAll(0, own);
            uint4 sum = meeting.sum(0, own);
            if (has == 8) {
                *(uint4*) (out + at) = sum;
            } else {
                u32 words[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    if (i < has) {
                        out[at + i] = (bf16) (words[i / 2] >> i % 2 * 16);
                    }
                }
            }
        }
        __syncthreads();
    }
    meeting.end();
}

// out[row][rank] = part[row] of that rank, in vectors of 16 bytes.
extern "C" __global__ void __launch_bounds__(THREADS)
        all_gather(const uint4* part, uint4* __restrict__ out, int rows, int vectors, Peers* peers) {
    Meeting meeting(peers);
    waitForPredecessor();
    letSuccessorIn();
    meeting.begin();
    long long count = (long long) rows * vectors;
    for (long long first = (long long) blockIdx.x * THREADS; first < count; first += (long long) gridDim.x * THREADS) {
        long long at = first + threadIdx.x;
        meeting.next();
        if (at < count) {
            uint4 own = part[at];
            meeting.sendToAll(0, own);
            uint4 all[RANKS];
            meeting.receiveAll(0, own, all);
            long long row = at / vectors, column = at % vectors;
#pragma unroll
            for (int i = 0; i < RANKS; i++) {
                out[(row * RANKS + i) * vectors + column] = all[i];
            }
        }
        __syncthreads();
    }
    meeting.end();
}
