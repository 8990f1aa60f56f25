package dev.baton.tensor.cuda.owned;

import java.lang.foreign.MemorySegment;

/// Host memory that the device copies from and to by itself, without the processor: a copy from ordinary memory
/// would wait.
///
/// What is written here must not change before the copy is done.
public final class PinnedMemory implements AutoCloseable {
    private final Context context;
    private final MemorySegment segment;

    public PinnedMemory(Context context, long bytes) {
        this.context = context;
        this.segment = context.cuda().allocatePinned(bytes);
    }

    /// The memory; not to be used after [#close].
    public MemorySegment segment() {
        return segment;
    }

    @Override
    public void close() {
        context.cuda().freePinned(segment);
    }
}
