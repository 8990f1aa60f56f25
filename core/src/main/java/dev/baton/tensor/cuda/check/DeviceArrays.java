package dev.baton.tensor.cuda.check;

import dev.baton.tensor.DType;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.DeviceMemory;
import dev.baton.tensor.cuda.owned.PinnedMemory;
import dev.baton.tensor.cuda.owned.Stream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Arrays on their way to a device and back, for comparisons: simple, and waiting for each copy.
final class DeviceArrays implements AutoCloseable {
    /// What results are filled with before they are computed, so that what is not written shows as NaN.
    private static final byte POISON = (byte) 0xff;

    private final Context context;
    private final Stream stream;
    private final DeviceMemory memory;

    DeviceArrays(Context context, Stream stream) {
        this.context = context;
        this.stream = stream;
        this.memory = new DeviceMemory(context);
    }

    long poisoned(long bytes) {
        long address = memory.allocate(bytes, "a comparison");
        stream.fill(address, POISON, bytes);
        return address;
    }

    /// bf16 values, rounded.
    long bf16(float[] values) {
        return upload(values.length * 2L, segment -> {
            for (int i = 0; i < values.length; i++) {
                segment.setAtIndex(ValueLayout.JAVA_SHORT, i, DType.floatToBf16(values[i]));
            }
        });
    }

    long floats(float[] values) {
        return upload(
                values.length * 4L,
                segment -> MemorySegment.copy(values, 0, segment, ValueLayout.JAVA_FLOAT, 0, values.length));
    }

    long ints(int... values) {
        return upload(
                values.length * 4L,
                segment -> MemorySegment.copy(values, 0, segment, ValueLayout.JAVA_INT, 0, values.length));
    }

    private long upload(long bytes, java.util.function.Consumer<MemorySegment> fill) {
        long address = memory.allocate(bytes, "a comparison");
        try (PinnedMemory pinned = new PinnedMemory(context, bytes)) {
            fill.accept(pinned.segment());
            stream.copyToDevice(address, pinned.segment(), bytes);
            stream.synchronize();
        }
        return address;
    }

    float[] readBf16(long address, int count) {
        float[] values = new float[count];
        download(address, count * 2L, segment -> {
            for (int i = 0; i < count; i++) {
                values[i] = DType.bf16ToFloat(segment.getAtIndex(ValueLayout.JAVA_SHORT, i));
            }
        });
        return values;
    }

    float[] readFloats(long address, int count) {
        float[] values = new float[count];
        download(
                address,
                count * 4L,
                segment -> MemorySegment.copy(segment, ValueLayout.JAVA_FLOAT, 0, values, 0, count));
        return values;
    }

    int[] readInts(long address, int count) {
        int[] values = new int[count];
        download(
                address, count * 4L, segment -> MemorySegment.copy(segment, ValueLayout.JAVA_INT, 0, values, 0, count));
        return values;
    }

    private void download(long address, long bytes, java.util.function.Consumer<MemorySegment> read) {
        try (PinnedMemory pinned = new PinnedMemory(context, bytes)) {
            stream.copyToHost(pinned.segment(), address, bytes);
            stream.synchronize();
            read.accept(pinned.segment());
        }
    }

    DeviceMemory memory() {
        return memory;
    }

    @Override
    public void close() {
        stream.synchronize();
        memory.close();
    }
}
