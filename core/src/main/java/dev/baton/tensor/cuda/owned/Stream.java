package dev.baton.tensor.cuda.owned;

import dev.baton.tensor.TensorException;
import java.lang.foreign.MemorySegment;

/// An order of work on the device: what it is given runs one after the other, while the host goes on.
///
/// Used from one thread at a time.
public final class Stream implements AutoCloseable {
    private final Context context;
    private final long handle;

    public Stream(Context context) {
        this.context = context;
        this.handle = context.cuda().createStream();
    }

    /// Copies from the host; `from` must be pinned and stay as it is until the copy is done.
    public void copyToDevice(long to, MemorySegment from, long bytes) {
        context.cuda().copyToDevice(to, from, bytes, handle);
    }

    /// Copies to pinned memory of the host; it is there after [#synchronize].
    public void copyToHost(MemorySegment to, long from, long bytes) {
        context.cuda().copyToHost(to, from, bytes, handle);
    }

    public void copyOnDevice(long to, long from, long bytes) {
        context.cuda().copyOnDevice(to, from, bytes, handle);
    }

    /// Sets every byte.
    public void fill(long address, byte value, long bytes) {
        context.cuda().fill(address, value, bytes, handle);
    }

    /// Has what this stream is given from now on wait until the device has come to a mark, of any stream.
    public void await(Event mark) {
        context.cuda().awaitEvent(handle, mark.handle());
    }

    /// Waits until all work is done.
    ///
    /// @throws TensorException if any of it failed
    public void synchronize() {
        context.cuda().synchronize(handle);
    }

    /// Whether all work is done.
    ///
    /// @throws TensorException if any of it failed
    public boolean isDone() {
        return context.cuda().isDone(handle);
    }

    /// Records what `work` gives to this stream instead of running it.
    public Graph capture(Runnable work) {
        context.cuda().beginCapture(handle);
        try {
            work.run();
        } catch (RuntimeException | Error e) {
            abandonCapture(e);
            throw e;
        }
        return new Graph(context, context.cuda().endCapture(handle));
    }

    private void abandonCapture(Throwable cause) {
        try {
            long graph = context.cuda().endCapture(handle);
            if (graph != 0) {
                context.cuda().destroyGraph(graph);
            }
        } catch (TensorException e) {
            cause.addSuppressed(e);
        }
    }

    long handle() {
        return handle;
    }

    @Override
    public void close() {
        context.cuda().destroyStream(handle);
    }
}
