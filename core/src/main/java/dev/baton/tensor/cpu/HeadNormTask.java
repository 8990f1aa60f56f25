package dev.baton.tensor.cpu;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Normalises the query and key heads of all rows, each head by itself. An item is some rows.
final class HeadNormTask implements WorkerPool.Task {
    private static final int ITEM_ROWS = 16;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final float[][] partials; // (threads, Sums.PARTIALS)
    private float[] qkv = {}; // (rows, (heads + 2 * kvHeads) * headDim)
    private float[] queryWeight = {}; // (headDim)
    private float[] keyWeight = {}; // (headDim)
    private @Nullable AttentionShape shape;
    private int rows;
    private float epsilon;

    HeadNormTask(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.partials = new float[pool.threads()][Sums.PARTIALS];
    }

    void run(float[] qkv, AttentionShape shape, int rows, float[] queryWeight, float[] keyWeight, float epsilon) {
        this.qkv = qkv;
        this.shape = shape;
        this.rows = rows;
        this.queryWeight = queryWeight;
        this.keyWeight = keyWeight;
        this.epsilon = epsilon;
        int items = Math.ceilDiv(rows, ITEM_ROWS);
        if (items == 1) {
            pool.forEachHere(items, this);
        } else {
            pool.forEach(items, this);
        }
    }

    @Override
    public void run(int item, int worker) {
        AttentionShape heads = Objects.requireNonNull(shape);
        int headDim = heads.headDim();
        int end = Math.min(rows, (item + 1) * ITEM_ROWS);
        for (int r = item * ITEM_ROWS; r < end; r++) {
            for (int h = 0; h < heads.heads() + heads.kvHeads(); h++) {
                float[] weight = h < heads.heads() ? queryWeight : keyWeight;
                int from = r * heads.rowSize() + h * headDim;
                kernels.rmsNorm(qkv, from, headDim, weight, epsilon, qkv, from, partials[worker]);
            }
        }
    }
}
