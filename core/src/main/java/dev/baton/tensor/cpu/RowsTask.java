package dev.baton.tensor.cpu;

/// An operation that treats every row by itself: normalisation, activation, addition. An item is some rows.
final class RowsTask implements WorkerPool.Task {
    /// What is done with a row.
    enum Operation {
        RMS_NORM,
        SILU_MULTIPLY,
        ADD,
        ADD_BIAS
    }

    private static final int ITEM_ROWS = 16;

    /// Floats below which the hand-over to other threads costs more than it saves.
    private static final long ALONE_BELOW = 16 * 1024;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final float[][] partials; // (threads, Sums.PARTIALS)
    private Operation operation = Operation.ADD;
    private float[] x = {};
    private float[] y = {};
    private float[] out = {};
    private int rows;
    private int columns;
    private float epsilon;

    RowsTask(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.partials = new float[pool.threads()][Sums.PARTIALS];
    }

    void run(Operation operation, float[] x, float[] y, float[] out, int rows, int columns, float epsilon) {
        this.operation = operation;
        this.x = x;
        this.y = y;
        this.out = out;
        this.rows = rows;
        this.columns = columns;
        this.epsilon = epsilon;
        int items = Math.ceilDiv(rows, ITEM_ROWS);
        if ((long) rows * columns < ALONE_BELOW) {
            pool.forEachHere(items, this);
        } else {
            pool.forEach(items, this);
        }
    }

    @Override
    public void run(int item, int worker) {
        int end = Math.min(rows, (item + 1) * ITEM_ROWS);
        for (int r = item * ITEM_ROWS; r < end; r++) {
            int from = r * columns;
            switch (operation) {
                case RMS_NORM -> kernels.rmsNorm(x, from, columns, y, epsilon, out, from, partials[worker]);
                case SILU_MULTIPLY -> kernels.siluMultiply(x, 2 * from, 2 * from + columns, columns, out, from);
                case ADD -> kernels.add(x, from, y, from, columns);
                case ADD_BIAS -> kernels.add(x, from, y, 0, columns);
            }
        }
    }
}
