package dev.baton.transfer;

import dev.baton.engine.MemoryLm;
import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;

/// A model whose steps wait while it is held, so that a test can do something in the middle of one.
final class GatedLm extends MemoryLm {
    private static final long PATIENCE_MILLIS = 20_000;

    private IntConsumer layerWritten = _ -> {};
    private boolean held; // guarded by this
    private boolean waiting; // guarded by this

    GatedLm(int headDim) {
        super(0, headDim);
    }

    @Override
    public void onLayerWritten(IntConsumer listener, BooleanSupplier isWanted) {
        layerWritten = listener;
    }

    /// From now on steps wait, when they have written what they have to.
    synchronized void hold() {
        held = true;
    }

    /// Waits until a step waits.
    synchronized void awaitStep() throws InterruptedException, TimeoutException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(PATIENCE_MILLIS);
        while (!waiting) {
            long millis = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
            if (millis <= 0) {
                throw new TimeoutException("no step began");
            }
            wait(millis);
        }
    }

    /// Lets the step that waits, and all others, go on.
    synchronized void letGo() {
        held = false;
        notifyAll();
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        super.forward(batch, kv, logits);
        for (int layer = 0; layer < config().numLayers(); layer++) {
            layerWritten.accept(layer);
        }
        synchronized (this) {
            waiting = held;
            notifyAll();
            try {
                while (held) {
                    wait();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            waiting = false;
        }
    }
}
