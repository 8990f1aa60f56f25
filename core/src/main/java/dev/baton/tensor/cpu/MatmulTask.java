package dev.baton.tensor.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// One matrix product, cut into items of some panels by some rows.
final class MatmulTask implements WorkerPool.Task {
    /// Rows a panel is used for while it is in the cache.
    private static final int ITEM_ROWS = 128;

    /// Multiply-adds below which the hand-over to other threads costs more than it saves.
    private static final long ALONE_BELOW = 128 * 1024;

    /// Items per thread where there are few rows: threads that start late still find some left.
    private static final int ITEMS_PER_THREAD = 4;

    /// Inputs of a panel that are made floats at a time, where the panel has none: they stay in cache.
    private static final int SCRATCH_INPUTS = 128;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final MemorySegment[] scratches; // (threads) of (SCRATCH_INPUTS, panelColumns)
    private final float[][] edges; // (threads, ITEM_ROWS * panelColumns)
    private float[] a = {};
    private float[] out = {};
    private @Nullable PackedMatrix weights;
    private int rows;
    private int rowItems;
    private int panelsPerItem;

    MatmulTask(Kernels kernels, WorkerPool pool, Arena arena) {
        this.kernels = kernels;
        this.pool = pool;
        this.scratches = new MemorySegment[pool.threads()];
        for (int i = 0; i < scratches.length; i++) {
            long floats = (long) SCRATCH_INPUTS * PackedMatrix.PANEL_VECTORS * kernels.lanes();
            scratches[i] = arena.allocate(floats * Float.BYTES, 64);
        }
        this.edges = new float[pool.threads()][ITEM_ROWS * PackedMatrix.PANEL_VECTORS * kernels.lanes()];
    }

    void run(float[] a, int rows, PackedMatrix weights, float[] out) {
        this.a = a;
        this.rows = rows;
        this.weights = weights;
        this.out = out;
        rowItems = Math.ceilDiv(rows, ITEM_ROWS);
        int wanted = Math.ceilDiv(pool.threads() * ITEMS_PER_THREAD, rowItems);
        panelsPerItem = Math.max(1, weights.panels() / wanted);
        int items = rowItems * Math.ceilDiv(weights.panels(), panelsPerItem);
        if ((long) rows * weights.inputs() * weights.outputs() < ALONE_BELOW) {
            pool.forEachHere(items, this);
        } else {
            pool.forEach(items, this);
        }
    }

    @Override
    public void run(int item, int worker) {
        PackedMatrix w = java.util.Objects.requireNonNull(weights);
        int firstRow = item % rowItems * ITEM_ROWS;
        int itemRows = Math.min(ITEM_ROWS, rows - firstRow);
        int firstPanel = item / rowItems * panelsPerItem;
        int endPanel = Math.min(w.panels(), firstPanel + panelsPerItem);
        int aFrom = firstRow * w.inputs();
        int outStride = w.outputs();
        MemorySegment scratch = scratches[worker];
        for (int panel = firstPanel; panel < endPanel; panel++) {
            int column = panel * w.panelColumns();
            int outFrom = firstRow * outStride + column;
            int columns = Math.min(w.panelColumns(), w.outputs() - column);
            if (columns == w.panelColumns()) {
                kernels.multiplyPanel(a, aFrom, w.inputs(), itemRows, w, panel, out, outFrom, outStride, scratch);
            } else {
                float[] edge = edges[worker];
                kernels.multiplyPanel(a, aFrom, w.inputs(), itemRows, w, panel, edge, 0, w.panelColumns(), scratch);
                for (int r = 0; r < itemRows; r++) {
                    System.arraycopy(edge, r * w.panelColumns(), out, outFrom + r * outStride, columns);
                }
            }
        }
    }
}
