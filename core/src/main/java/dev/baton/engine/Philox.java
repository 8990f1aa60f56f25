package dev.baton.engine;

/// A counter-based random generator: the n-th number of a seed is a function of the seed and n, with no state
/// between.
///
/// Philox-4x32-10 of J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3" (SC 2011). Prefiller, decoder and a decoder that takes over draw the same number for the same
/// token. Stateless, thread-safe.
final class Philox {
    private static final int ROUNDS = 10;
    private static final long MULTIPLIER_0 = 0xD2511F53L;
    private static final long MULTIPLIER_1 = 0xCD9E8D57L;
    private static final int WEYL_0 = 0x9E3779B9;
    private static final int WEYL_1 = 0xBB67AE85;
    private static final double UNIT = 0x1p-53;

    private Philox() {}

    /// A number in [0, 1) with 53 random bits.
    static double uniform(long seed, long counter) {
        return (bits((int) counter, (int) (counter >>> 32), 0, 0, (int) seed, (int) (seed >>> 32)) >>> 11) * UNIT;
    }

    /// The first two of the four output words, the first one in the low half.
    static long bits(int c0, int c1, int c2, int c3, int key0, int key1) {
        for (int round = 0; round < ROUNDS; round++) {
            long product0 = MULTIPLIER_0 * Integer.toUnsignedLong(c0);
            long product1 = MULTIPLIER_1 * Integer.toUnsignedLong(c2);
            c0 = (int) (product1 >>> 32) ^ c1 ^ key0;
            c2 = (int) (product0 >>> 32) ^ c3 ^ key1;
            c1 = (int) product1;
            c3 = (int) product0;
            key0 += WEYL_0;
            key1 += WEYL_1;
        }
        return Integer.toUnsignedLong(c0) | ((long) c1 << 32);
    }
}
