package dev.baton.model;

import dev.baton.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.NavigableMap;
import java.util.TreeMap;

/// Weights drawn from a seed, for speed measurements and tests without a checkpoint: norms are ones, matrices and
/// biases are uniform with standard deviation 0.02. An element depends on the seed, the tensor's name and its index
/// alone.
final class DummyWeights implements Weights {
    private static final long GOLDEN_GAMMA = 0x9e3779b97f4a7c15L;
    private static final float STANDARD_DEVIATION = 0.02f;
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Arena arena = Arena.ofShared();
    private final DType dtype;
    private final long seed;
    private final NavigableMap<String, long[]> shapes = new TreeMap<>();

    DummyWeights(DType dtype, long seed) {
        this.dtype = dtype == DType.F16 ? DType.F32 : dtype;
        this.seed = seed;
    }

    @Override
    public Tensor tensor(String name, int... shape) {
        long count = Arrays.stream(shape).asLongStream().reduce(1, Math::multiplyExact);
        MemorySegment data = arena.allocate(count * dtype.bytes(), 64);
        shapes.put(name, Arrays.stream(shape).asLongStream().toArray());
        boolean norm = shape.length == 1 && !name.endsWith(".bias");
        long key = mix(seed ^ mix(name.hashCode()));
        for (long i = 0; i < count; i++) {
            float value = norm ? 1f : uniform(mix(key + i * GOLDEN_GAMMA));
            if (dtype == DType.BF16) {
                data.set(SHORT, i * Short.BYTES, DType.floatToBf16(value));
            } else {
                data.set(FLOAT, i * Float.BYTES, value);
            }
        }
        return new Tensor(name, dtype, shape.clone(), data);
    }

    private static float uniform(long bits) {
        float unit = (bits >> 40) * 0x1p-23f; // from -1 to 1
        return unit * (float) (Math.sqrt(3) * STANDARD_DEVIATION);
    }

    /// The finisher of SplitMix64 (Steele, Lea and Flood).
    private static long mix(long value) {
        long z = (value ^ (value >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    /// The seed, and what was asked for so far: names, types and shapes, as the bytes follow from them.
    @Override
    public String digest() {
        WeightsDigest digest = new WeightsDigest();
        shapes.forEach((name, shape) -> digest.add(name, dtype.name(), shape, MemorySegment.NULL));
        return "dummy-" + seed + "-" + digest.finish();
    }

    @Override
    public void close() {
        arena.close();
    }
}
