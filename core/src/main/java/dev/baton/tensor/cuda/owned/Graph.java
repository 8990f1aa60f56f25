package dev.baton.tensor.cuda.owned;

/// Recorded work that is run with one launch, with the addresses and numbers that it was recorded with.
public final class Graph implements AutoCloseable {
    private final Context context;
    private final long executable;

    /// @param captured the recording, which this takes over
    Graph(Context context, long captured) {
        this.context = context;
        try {
            this.executable = context.cuda().instantiate(captured);
        } finally {
            context.cuda().destroyGraph(captured);
        }
    }

    /// Brings the graph to the device, so that the first launch does not.
    public void upload(Stream stream) {
        context.cuda().uploadGraph(executable, stream.handle());
    }

    /// Gives the whole to a stream.
    public void launch(Stream stream) {
        context.cuda().launchGraph(executable, stream.handle());
    }

    @Override
    public void close() {
        context.cuda().destroyExecutable(executable);
    }
}
