package dev.baton.tensor.cpu;

import dev.baton.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// Conversions between f32 and the 16-bit types with the Vector API, in the bits of [ScalarKernels].
///
/// Each method converts as many whole vectors as there are and says how many elements that was; the rest is the
/// caller's.
final class VectorConversions {
    private static final VectorSpecies<Float> FLOATS = VectorKernels.FLOATS;
    private static final VectorSpecies<Integer> INTS = VectorKernels.INTS;
    private static final int LANES = FLOATS.length();
    private static final ByteOrder ORDER = ByteOrder.nativeOrder();

    /// As many shorts as there are floats in a vector; vectors of less than 64 bits do not exist.
    private static final VectorSpecies<Short> SHORTS =
            VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, LANES * Short.SIZE)));

    private static final int BF16_ROUND = 0x7fff;
    private static final int BF16_QUIET_BIT = 0x40;
    private static final int F16_SIGN = 0x8000;
    private static final int F16_MAGNITUDE = 0x7fff;

    /// Bits of an f16's magnitude, moved to where an f32 has its exponent, are `2^112` times too small.
    private static final float F16_REBIAS = 0x1p112f;

    private static final int F16_MANTISSA_SHIFT = 13;

    /// Bits of 65536, above all finite f16: what infinities and NaN become by the steps above.
    private static final int BEYOND_F16 = 0x47800000;

    private static final int F32_EXPONENT = 0x7f800000;

    private VectorConversions() {}

    static int widen(
            MemorySegment source, long fromBytes, DType dtype, int count, MemorySegment target, long targetFromBytes) {
        int bound = FLOATS.loopBound(count);
        switch (dtype) {
            case F32 -> MemorySegment.copy(source, fromBytes, target, targetFromBytes, (long) bound * Float.BYTES);
            case F16 -> {
                for (int i = 0; i < bound; i += LANES) {
                    f16ToFloats(load(source, fromBytes, i)).intoMemorySegment(target, at(targetFromBytes, i), ORDER);
                }
            }
            case BF16 -> {
                for (int i = 0; i < bound; i += LANES) {
                    load(source, fromBytes, i)
                            .lanewise(VectorOperators.LSHL, Short.SIZE)
                            .intoMemorySegment(target, at(targetFromBytes, i), ORDER);
                }
            }
        }
        return bound;
    }

    private static long at(long fromBytes, int i) {
        return fromBytes + (long) i * Float.BYTES;
    }

    private static IntVector load(MemorySegment source, long fromBytes, int i) {
        return (IntVector) ShortVector.fromMemorySegment(SHORTS, source, fromBytes + (long) i * Short.BYTES, ORDER)
                .convertShape(VectorOperators.ZERO_EXTEND_S2I, INTS, 0);
    }

    private static FloatVector f16ToFloats(IntVector bits) {
        IntVector magnitude = bits.and(F16_MAGNITUDE)
                .lanewise(VectorOperators.LSHL, F16_MANTISSA_SHIFT)
                .reinterpretAsFloats()
                .mul(F16_REBIAS)
                .reinterpretAsInts();
        VectorMask<Integer> notFinite = magnitude.compare(VectorOperators.GE, BEYOND_F16);
        return magnitude
                .lanewise(VectorOperators.OR, F32_EXPONENT, notFinite)
                .or(bits.and(F16_SIGN).lanewise(VectorOperators.LSHL, Short.SIZE))
                .reinterpretAsFloats();
    }

    static int narrow(float[] x, int from, int count, DType dtype, MemorySegment target, long targetFromBytes) {
        int bound = FLOATS.loopBound(count);
        switch (dtype) {
            case F32 ->
                MemorySegment.copy(x, from, target, java.lang.foreign.ValueLayout.JAVA_FLOAT, targetFromBytes, bound);
            case F16 -> {
                return 0;
            }
            case BF16 -> {
                for (int i = 0; i < bound; i += LANES) {
                    IntVector rounded = bf16Bits(FloatVector.fromArray(FLOATS, x, from + i));
                    ((ShortVector) rounded.convertShape(VectorOperators.I2S, SHORTS, 0))
                            .intoMemorySegment(target, targetFromBytes + (long) i * Short.BYTES, ORDER);
                }
            }
        }
        return bound;
    }

    private static IntVector bf16Bits(FloatVector values) {
        IntVector bits = values.reinterpretAsInts();
        IntVector upper = bits.lanewise(VectorOperators.LSHR, Short.SIZE);
        IntVector rounded = bits.add(BF16_ROUND).add(upper.and(1)).lanewise(VectorOperators.LSHR, Short.SIZE);
        VectorMask<Float> nan = values.test(VectorOperators.IS_NAN);
        return rounded.blend(upper.or(BF16_QUIET_BIT), nan.cast(INTS));
    }
}
