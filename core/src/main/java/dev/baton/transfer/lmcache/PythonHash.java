package dev.baton.transfer.lmcache;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/// CPython's built-in `hash()` of whole numbers, ASCII texts and tuples, on a 64-bit machine.
///
/// Sources: CPython's `Objects/tupleobject.c` (after xxHash's round by Y. Collet), `Objects/longobject.c`
/// (modulo the Mersenne prime 2^61 - 1) and `Python/pyhash.c` (SipHash-1-3 since 3.11, J.-P. Aumasson and D. J.
/// Bernstein) with the key that `Python/bootstrap_hash.c` makes of `PYTHONHASHSEED`.
///
/// Stateless.
final class PythonHash {
    private static final long MODULUS = (1L << 61) - 1;
    private static final long PRIME_1 = 0x9E3779B185EBCA87L;
    private static final long PRIME_2 = 0xC2B2AE3D27D4EB4FL;
    private static final long PRIME_5 = 0x27D4EB2F165667C5L;
    private static final long LENGTH_SALT = PRIME_5 ^ 3527539L;
    private static final long TUPLE_FOR_MINUS_1 = 1546275796L;

    /// Highest `PYTHONHASHSEED`.
    static final long MAX_SEED = 0xffff_ffffL;

    /// `hash(())`
    static final long EMPTY_TUPLE = endTuple(startTuple(), 0);

    private PythonHash() {}

    /// `hash(n)`
    static long ofInt(long n) {
        long remainder = n % MODULUS; // has the sign of n, as CPython's has
        return remainder == -1 ? -2 : remainder;
    }

    /// What a tuple's hash begins with; [#lane] takes the hash of each element, [#endTuple] comes last.
    static long startTuple() {
        return PRIME_5;
    }

    /// One element further.
    static long lane(long state, long elementHash) {
        return Long.rotateLeft(state + elementHash * PRIME_2, 31) * PRIME_1;
    }

    /// The hash of a tuple of that many elements.
    static long endTuple(long state, int length) {
        long hash = state + (length ^ LENGTH_SALT);
        return hash == -1 ? TUPLE_FOR_MINUS_1 : hash;
    }

    /// The hash of an ASCII text in a process with that `PYTHONHASHSEED`, which is in 0 to [#MAX_SEED].
    static long ofAscii(String text, long hashSeed) {
        byte[] bytes = text.getBytes(StandardCharsets.US_ASCII);
        if (bytes.length == 0) {
            return 0;
        }
        ByteBuffer key = ByteBuffer.wrap(secret(hashSeed)).order(ByteOrder.LITTLE_ENDIAN);
        long hash = sipHash13(key.getLong(), key.getLong(), bytes);
        return hash == -1 ? -2 : hash;
    }

    /// The first 16 bytes of CPython's hash secret.
    private static byte[] secret(long hashSeed) {
        byte[] secret = new byte[16];
        if (hashSeed != 0) { // 0 turns randomisation off
            int state = (int) hashSeed;
            for (int i = 0; i < secret.length; i++) {
                state = state * 214013 + 2531011;
                secret[i] = (byte) (state >>> 16);
            }
        }
        return secret;
    }

    private static long sipHash13(long key0, long key1, byte[] message) {
        long v0 = key0 ^ 0x736f6d6570736575L;
        long v1 = key1 ^ 0x646f72616e646f6dL;
        long v2 = key0 ^ 0x6c7967656e657261L;
        long v3 = key1 ^ 0x7465646279746573L;
        int words = message.length / Long.BYTES;
        ByteBuffer in = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i <= words + 3; i++) {
            long word = 0;
            if (i < words) {
                word = in.getLong();
            } else if (i == words) {
                word = (long) message.length << 56;
                for (int shift = 0; in.hasRemaining(); shift += Byte.SIZE) {
                    word |= (in.get() & 0xffL) << shift;
                }
            } else if (i == words + 1) {
                v2 ^= 0xff;
            }
            v3 ^= word;
            v0 += v1;
            v1 = Long.rotateLeft(v1, 13) ^ v0;
            v0 = Long.rotateLeft(v0, 32);
            v2 += v3;
            v3 = Long.rotateLeft(v3, 16) ^ v2;
            v0 += v3;
            v3 = Long.rotateLeft(v3, 21) ^ v0;
            v2 += v1;
            v1 = Long.rotateLeft(v1, 17) ^ v2;
            v2 = Long.rotateLeft(v2, 32);
            v0 ^= word;
        }
        return v0 ^ v1 ^ v2 ^ v3;
    }
}
