package dev.baton.model.cuda;

import dev.baton.model.WeightsDigest;
import dev.baton.tensor.DType;
import dev.baton.tensor.cuda.CudaOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.NavigableMap;
import java.util.TreeMap;

/// Weights drawn from a seed by the device itself: norms are ones, all else is uniform with standard deviation
/// 0.02. They are other numbers than those of `--load-format dummy` on the CPU or on another number of GPUs, and
/// their digest says so.
final class DummySource implements WeightSource {
    private static final float STANDARD_DEVIATION = 0.02f;
    private static final short ONE = DType.floatToBf16(1);

    private final CudaOps ops;
    private final Staging staging;
    private final long seed;
    private final NavigableMap<String, long[]> shapes = new TreeMap<>();

    /// @param staging closed with this
    DummySource(CudaOps ops, Staging staging, long seed) {
        this.ops = ops;
        this.staging = staging;
        this.seed = seed;
    }

    @Override
    public void load(String name, long to, Span... shape) {
        long[] dimensions = Arrays.stream(shape).mapToLong(Span::count).toArray();
        long part = Arrays.stream(shape).mapToLong(Span::first).sum();
        shapes.put(name, dimensions);
        long count = Arrays.stream(dimensions).reduce(1, Math::multiplyExact);
        if (shape.length == 1 && !name.endsWith(".bias")) {
            staging.copy(to, count * Short.BYTES, (buffer, _) -> fillWithOnes(buffer));
        } else {
            float scale = (float) (Math.sqrt(3) * STANDARD_DEVIATION);
            ops.fillDummy(to, count, seed * 31 + name.hashCode() + part, scale);
        }
    }

    private static void fillWithOnes(MemorySegment buffer) {
        for (long i = 0; i < buffer.byteSize() / Short.BYTES; i++) {
            buffer.setAtIndex(ValueLayout.JAVA_SHORT, i, ONE);
        }
    }

    @Override
    public String digest() {
        WeightsDigest digest = new WeightsDigest();
        shapes.forEach((name, shape) -> digest.add(name, DType.BF16.name(), shape, MemorySegment.NULL));
        return "dummy-cuda-" + seed + "-" + digest.finish();
    }

    @Override
    public void close() {
        staging.close();
    }
}
