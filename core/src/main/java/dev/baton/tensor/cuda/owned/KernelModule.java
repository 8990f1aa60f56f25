package dev.baton.tensor.cuda.owned;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// The compiled kernels of one source on the device.
public final class KernelModule implements AutoCloseable {
    private final Context context;
    private final Arena arena = Arena.ofShared();
    private final long handle;

    /// Loads machine code.
    ///
    /// @param name of the source, for messages
    public KernelModule(Context context, String name, byte[] code) {
        this.context = context;
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment image = scratch.allocate(code.length, Long.BYTES);
            image.copyFrom(MemorySegment.ofArray(code));
            this.handle = context.cuda().loadModule(image, name);
        }
    }

    /// One of the kernels.
    ///
    /// @param parameters what it takes, in order
    public Kernel kernel(String name, Kernel.Shape shape, List<Kernel.Parameter> parameters) {
        return new Kernel(context.cuda(), arena, handle, name, shape, parameters);
    }

    @Override
    public void close() {
        context.cuda().unloadModule(handle);
        arena.close();
    }
}
