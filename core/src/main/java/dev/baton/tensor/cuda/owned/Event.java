package dev.baton.tensor.cuda.owned;

/// A mark in a stream, with the time at which the device came to it.
public final class Event implements AutoCloseable {
    private final Context context;
    private final long handle;

    public Event(Context context) {
        this.context = context;
        this.handle = context.cuda().createEvent();
    }

    /// Marks what the stream was given so far.
    public void record(Stream stream) {
        context.cuda().record(handle, stream.handle());
    }

    /// Waits until the device has come to the mark.
    public void synchronize() {
        context.cuda().synchronizeEvent(handle);
    }

    /// Whether the device has come to the mark.
    public boolean isReached() {
        return context.cuda().isReached(handle);
    }

    /// Time on the device between an earlier mark and this one; both must have been reached.
    public float millisSince(Event start) {
        return context.cuda().elapsedMillis(start.handle, handle);
    }

    long handle() {
        return handle;
    }

    @Override
    public void close() {
        context.cuda().destroyEvent(handle);
    }
}
