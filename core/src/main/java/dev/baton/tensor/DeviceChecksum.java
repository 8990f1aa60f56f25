package dev.baton.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// The checksum of a block in a device's memory, 64 bits: the sum of its 64-bit words, each first mixed with
/// its place and a seed. A sum, as threads then need no order; mixed, as bits flipped in two words or words
/// that changed places must not cancel out. The mixing is MurmurHash3's finaliser. No protection against
/// somebody who means harm.
///
/// `checksum.cu` is the same for a device. Stateless and thread-safe.
public final class DeviceChecksum {
    private static final long STEP = 0x9E3779B97F4A7C15L;
    private static final long FIRST = 0xFF51AFD7ED558CCDL;
    private static final long SECOND = 0xC4CEB9FE1A85EC53L;
    private static final ValueLayout.OfLong WORD = ValueLayout.JAVA_LONG_UNALIGNED;

    private DeviceChecksum() {}

    /// The checksum of a block in host memory, of a multiple of 8 bytes.
    ///
    /// @param seed what the block is and where it belongs
    public static long of(MemorySegment block, long seed) {
        long sum = 0;
        long place = seed;
        for (long offset = 0; offset < block.byteSize(); offset += Long.BYTES) {
            place += STEP;
            sum += mix(block.get(WORD, offset) + place);
        }
        return sum;
    }

    /// With what seed the checksum of a part of a block begins: those of all its parts add up to the block's.
    ///
    /// @param offset where the part begins in the block, a multiple of 8
    public static long partSeed(long seed, long offset) {
        return seed + offset / Long.BYTES * STEP;
    }

    /// Spreads every bit of a number over all bits of the result.
    public static long mix(long value) {
        long mixed = value;
        mixed = (mixed ^ mixed >>> 33) * FIRST;
        mixed = (mixed ^ mixed >>> 33) * SECOND;
        return mixed ^ mixed >>> 33;
    }
}
