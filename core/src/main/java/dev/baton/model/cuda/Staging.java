package dev.baton.model.cuda;

import dev.baton.tensor.cuda.CudaOps;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.Event;
import dev.baton.tensor.cuda.owned.PinnedMemory;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// Two pinned buffers through which data goes to the device: one is filled while the other is on its way.
final class Staging implements AutoCloseable {
    static final long BYTES = 32L << 20;

    private final CudaOps ops;
    private final List<Buffer> buffers;
    private int next;

    private record Buffer(PinnedMemory memory, Event copied) {}

    /// Writes the bytes from `offset` on into a buffer of exactly as many as are wanted.
    @FunctionalInterface
    interface Filler {
        void fill(MemorySegment buffer, long offset);
    }

    Staging(Context context, CudaOps ops) {
        this.ops = ops;
        this.buffers = List.of(
                new Buffer(new PinnedMemory(context, BYTES), new Event(context)),
                new Buffer(new PinnedMemory(context, BYTES), new Event(context)));
    }

    void copy(long to, long bytes, Filler filler) {
        for (long offset = 0; offset < bytes; offset += BYTES) {
            Buffer buffer = buffers.get(next);
            next = 1 - next;
            buffer.copied.synchronize();
            long size = Math.min(BYTES, bytes - offset);
            MemorySegment segment = buffer.memory.segment().asSlice(0, size);
            filler.fill(segment, offset);
            ops.stream().copyToDevice(to + offset, segment, size);
            buffer.copied.record(ops.stream());
        }
    }

    @Override
    public void close() {
        ops.stream().synchronize();
        for (Buffer buffer : buffers) {
            buffer.copied.close();
            buffer.memory.close();
        }
    }
}
