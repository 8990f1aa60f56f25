package dev.baton.kvcache;

import java.nio.charset.StandardCharsets;
import java.util.stream.IntStream;

/// Names full blocks by a chain of keyed hashes: `hash(i) = H(hash(i - 1), tokens of block i)`.
///
/// `hash(-1)`, the root, is the hash of the model id, the element type and the block size, so that caches which
/// could not use each other's blocks never agree on a name. Equal in every process that uses the same seed:
/// nothing of the platform enters.
///
/// H is SipHash-2-4 with 128 bits of output (J.-P. Aumasson, D. J. Bernstein, 2012, and the authors' 128-bit
/// variant), a keyed function: who does not know the seed cannot search for prompts whose names collide.
/// [BlockPool] compares tokens besides.
///
/// Immutable, thread-safe.
public final class BlockHasher {
    /// The seed that all instances of a deployment share unless they are told another one.
    public static final long DEFAULT_SEED = 0x4261746f6e4b5631L; // "BatonKV1"

    private static final long KEY_HIGH = 0x9e3779b97f4a7c15L;

    private final long seed;
    private final BlockHash root;

    public BlockHasher(KvCacheSpec spec, long seed) {
        this.seed = seed;
        int[] identity = IntStream.concat(
                        IntStream.concat(words(spec.modelId()), words(spec.dtype())), IntStream.of(spec.blockTokens()))
                .toArray();
        this.root = hash(new BlockHash(0, 0), identity, 0, identity.length);
    }

    /// Names a sequence of tokens, for instances that want to know whether they mean the same one: 32 hexadecimal
    /// digits, equal in every process, whatever its seed and block size. Finds mistakes, not forgeries: the key is
    /// public.
    public static String digest(int[] tokens, int numTokens) {
        long[] out = new long[2];
        sipHash(DEFAULT_SEED, KEY_HIGH, 0, numTokens, tokens, 0, numTokens, out, 0);
        return new BlockHash(out[0], out[1]).toString();
    }

    /// The hash before the first block.
    public BlockHash root() {
        return root;
    }

    /// The hash of the block that holds `tokens[from .. from + count)` and follows the block `parent`.
    public BlockHash hash(BlockHash parent, int[] tokens, int from, int count) {
        long[] out = new long[2];
        hash(parent.high(), parent.low(), tokens, from, count, out, 0);
        return new BlockHash(out[0], out[1]);
    }

    /// The same without an object: writes high and low half to `out[at]` and `out[at + 1]`.
    void hash(long parentHigh, long parentLow, int[] tokens, int from, int count, long[] out, int at) {
        sipHash(seed, KEY_HIGH, parentHigh, parentLow, tokens, from, count, out, at);
    }

    /// SipHash-2-4-128 of the message `first`, `second`, `words[from .. from + count)` in little-endian order.
    static void sipHash(
            long key0, long key1, long first, long second, int[] words, int from, int count, long[] out, int at) {
        SipState state = new SipState(key0, key1);
        state.absorb(first);
        state.absorb(second);
        int end = from + count;
        int i = from;
        for (; i + 1 < end; i += 2) {
            state.absorb(Integer.toUnsignedLong(words[i]) | ((long) words[i + 1] << 32));
        }
        long lengthBytes = 16 + 4L * count;
        long rest = i < end ? Integer.toUnsignedLong(words[i]) : 0;
        state.absorb((lengthBytes << 56) | rest);
        state.finish(out, at);
    }

    /// A string as its length and its UTF-8 bytes: no two lists of strings give the same words.
    private static IntStream words(String string) {
        byte[] bytes = string.getBytes(StandardCharsets.UTF_8);
        return IntStream.concat(
                IntStream.of(bytes.length), IntStream.range(0, bytes.length).map(i -> bytes[i] & 0xff));
    }

    /// SipHash's four words; lives on the stack once compiled.
    private static final class SipState {
        private long v0;
        private long v1;
        private long v2;
        private long v3;

        SipState(long key0, long key1) {
            v0 = key0 ^ 0x736f6d6570736575L;
            v1 = key1 ^ 0x646f72616e646f6dL ^ 0xee;
            v2 = key0 ^ 0x6c7967656e657261L;
            v3 = key1 ^ 0x7465646279746573L;
        }

        void absorb(long word) {
            v3 ^= word;
            rounds(2);
            v0 ^= word;
        }

        void finish(long[] out, int at) {
            v2 ^= 0xee;
            rounds(4);
            out[at] = v0 ^ v1 ^ v2 ^ v3;
            v1 ^= 0xdd;
            rounds(4);
            out[at + 1] = v0 ^ v1 ^ v2 ^ v3;
        }

        private void rounds(int count) {
            for (int i = 0; i < count; i++) {
                v0 += v1;
                v2 += v3;
                v1 = Long.rotateLeft(v1, 13) ^ v0;
                v3 = Long.rotateLeft(v3, 16) ^ v2;
                v0 = Long.rotateLeft(v0, 32);
                v2 += v1;
                v0 += v3;
                v1 = Long.rotateLeft(v1, 17) ^ v2;
                v3 = Long.rotateLeft(v3, 21) ^ v0;
                v2 = Long.rotateLeft(v2, 32);
            }
        }
    }
}
