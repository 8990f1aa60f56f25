package dev.baton.engine;

import dev.baton.model.ForwardBatch;
import dev.baton.tensor.PagedKv;
import java.util.concurrent.CountDownLatch;

/// A model that waits in each step until it is let go: what is submitted meanwhile comes into one batch.
class SlowLm extends MemoryLm {
    final CountDownLatch go = new CountDownLatch(1);

    SlowLm() {
        this(0);
    }

    SlowLm(double eosShare) {
        super(eosShare);
    }

    @Override
    public void forward(ForwardBatch batch, PagedKv kv, float[] logits) {
        super.forward(batch, kv, logits);
        try {
            go.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
