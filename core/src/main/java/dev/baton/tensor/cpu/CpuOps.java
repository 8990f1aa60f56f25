package dev.baton.tensor.cpu;

import dev.baton.tensor.PagedKv;
import dev.baton.tensor.Quantization;
import dev.baton.tensor.TensorException;
import java.lang.foreign.Arena;
import java.lang.foreign.SegmentAllocator;

/// The operations of a transformer step on the CPU: f32 activations in arrays, weights and KV cache
/// off-heap, each in a type of its own.
///
/// Activations are row-major without gaps, `(rows, columns)`. A row's result does not depend on the other rows,
/// on the number of threads or on the implementation (see the package). Nothing is allocated once the buffers
/// have grown to the largest step.
///
/// Owns its threads and scratch memory, and lends its arena's lifetime to no one. Used from one thread at a time.
public final class CpuOps implements AutoCloseable {
    private static final String VECTOR_MODULE = "jdk.incubator.vector";
    private static final int FEWEST_LANES = 8;

    private final Kernels kernels;
    private final String reason;
    private final Quantization quantization;
    private final WorkerPool pool;
    private final Arena arena = Arena.ofShared();
    private final MatmulTask matmul;
    private final RowsTask rowsTask;
    private final HeadNormTask headNorm;
    private final RotateAndStoreTask rotateAndStore;
    private final AttentionTask attention;
    private long packedBytes;

    private CpuOps(Kernels kernels, String reason, int threads, Quantization quantization) {
        this.quantization = quantization;
        this.kernels = kernels;
        this.reason = reason;
        this.pool = new WorkerPool(threads);
        this.matmul = new MatmulTask(kernels, pool, arena);
        this.rowsTask = new RowsTask(kernels, pool);
        this.headNorm = new HeadNormTask(kernels, pool);
        this.rotateAndStore = new RotateAndStoreTask(kernels);
        this.attention = new AttentionTask(kernels, threads, arena);
    }

    /// Chooses an implementation and starts the threads. Weights stay what they are.
    ///
    /// @param threads threads that compute, the caller's included
    /// @throws TensorException if the Vector API is demanded and missing, or `threads` is not positive
    public static CpuOps create(OpsChoice choice, int threads) {
        return create(choice, threads, Quantization.NONE);
    }

    /// Chooses an implementation and starts the threads.
    ///
    /// @param threads threads that compute, the caller's included
    /// @param quantization what [#pack] turns weights into
    /// @throws TensorException if the Vector API is demanded and missing, or `threads` is not positive
    public static CpuOps create(OpsChoice choice, int threads, Quantization quantization) {
        if (threads < 1) {
            throw new TensorException("the number of CPU threads must be at least 1, not " + threads);
        }
        boolean present = ModuleLayer.boot().findModule(VECTOR_MODULE).isPresent();
        String missing = "module " + VECTOR_MODULE + " is missing: start with --add-modules " + VECTOR_MODULE;
        return switch (choice) {
            case SCALAR -> new CpuOps(new ScalarKernels(), " (as asked)", threads, quantization);
            case VECTOR -> {
                if (!present) {
                    throw new TensorException("the Vector API was asked for, but the " + missing);
                }
                yield new CpuOps(new VectorKernels(), " (as asked)", threads, quantization);
            }
            case AUTO -> {
                if (!present) {
                    yield new CpuOps(new ScalarKernels(), " (" + missing + ")", threads, quantization);
                }
                int lanes = VectorKernels.preferredLanes();
                yield lanes >= FEWEST_LANES
                        ? new CpuOps(new VectorKernels(), " (auto: " + lanes + " f32 lanes)", threads, quantization)
                        : new CpuOps(
                                new ScalarKernels(),
                                " (this CPU's vectors hold " + lanes + " floats, the Vector API pays from "
                                        + FEWEST_LANES + ")",
                                threads,
                                quantization);
            }
        };
    }

    /// What computes and why, and the memory of the weights packed so far, for the start banner.
    public String backend() {
        String weights = packedBytes == 0
                ? ""
                : ", weights %.1f MiB%s"
                        .formatted(
                                packedBytes / 0x1p20,
                                quantization == Quantization.NONE ? "" : " in " + quantization.flag());
        return "cpu, " + kernels.description() + reason + ", " + pool.threads()
                + (pool.threads() == 1 ? " thread" : " threads") + weights;
    }

    /// What [#pack] turns weights into.
    public Quantization quantization() {
        return quantization;
    }

    /// Packs one weight matrix, or several of the same number of columns one below the other, for [#matmul].
    ///
    /// All memory must be accessible from every thread: from a shared or the global arena.
    ///
    /// @param target gives the memory, zeroed; see [dev.baton.tensor.OffHeap#pieces]
    public PackedMatrix pack(SegmentAllocator target, Matrix... parts) {
        PackedMatrix packed = PackedMatrix.pack(target, kernels.lanes(), quantization, pool, parts);
        packedBytes += packed.bytes();
        return packed;
    }

    /// `out = a * transposed(weights)`: `(rows, inputs)` to `(rows, outputs)`.
    public void matmul(float[] a, int rows, PackedMatrix weights, float[] out) {
        need("a matrix product's input", a, (long) rows * weights.inputs());
        need("a matrix product's output", out, (long) rows * weights.outputs());
        matmul.run(a, rows, weights, out);
    }

    /// Root-mean-square normalisation of every row, times `weight`.
    public void rmsNorm(float[] x, int rows, int columns, float[] weight, float epsilon, float[] out) {
        need("a norm's input", x, (long) rows * columns);
        need("a norm's output", out, (long) rows * columns);
        need("a norm's weight", weight, columns);
        rowsTask.run(RowsTask.Operation.RMS_NORM, x, weight, out, rows, columns, epsilon);
    }

    /// `out = silu(gate) * up`, where a row of `gateUp` is `columns` gates and then `columns` ups.
    public void siluMultiply(float[] gateUp, int rows, int columns, float[] out) {
        need("an activation's input", gateUp, 2L * rows * columns);
        need("an activation's output", out, (long) rows * columns);
        rowsTask.run(RowsTask.Operation.SILU_MULTIPLY, gateUp, gateUp, out, rows, columns, 0f);
    }

    /// `x += y`.
    public void add(float[] x, float[] y, int rows, int columns) {
        need("a sum's first operand", x, (long) rows * columns);
        need("a sum's second operand", y, (long) rows * columns);
        rowsTask.run(RowsTask.Operation.ADD, x, y, x, rows, columns, 0f);
    }

    /// `x += bias`, the same in every row.
    public void addBias(float[] x, int rows, int columns, float[] bias) {
        need("a biased matrix", x, (long) rows * columns);
        need("a bias", bias, columns);
        rowsTask.run(RowsTask.Operation.ADD_BIAS, x, bias, x, rows, columns, 0f);
    }

    /// Root-mean-square normalisation of every query head and every key head by itself, in place, before they are
    /// rotated.
    ///
    /// @param qkv `(rows, heads + 2 kvHeads, headDim)`
    /// @param queryWeight `(headDim)`, the same for all query heads
    /// @param keyWeight `(headDim)`, the same for all key heads
    public void rmsNormHeads(
            float[] qkv, AttentionShape shape, int rows, float[] queryWeight, float[] keyWeight, float epsilon) {
        need("queries, keys and values", qkv, (long) rows * shape.rowSize());
        need("a query norm's weight", queryWeight, shape.headDim());
        need("a key norm's weight", keyWeight, shape.headDim());
        headNorm.run(qkv, shape, rows, queryWeight, keyWeight, epsilon);
    }

    /// Rotates queries and keys to their positions, and writes keys and values into the cache.
    ///
    /// @param qkv `(rows, heads + 2 kvHeads, headDim)`; queries and keys are changed in place
    public void rotateAndStore(
            float[] qkv, AttentionShape shape, RotaryTable table, PagedKv kv, int layer, SequenceRows sequences) {
        check(qkv, shape, kv, sequences);
        table.ensure(sequences.lastPosition() + 1);
        rotateAndStore.set(qkv, shape, table, kv, layer, sequences);
        if (sequences.totalRows() < SequenceRows.TILE_ROWS) {
            pool.forEachHere(sequences.tiles(), rotateAndStore);
        } else {
            pool.forEach(sequences.tiles(), rotateAndStore);
        }
    }

    /// Causal attention of every row over its sequence's keys and values: from position 0, or from as far back as
    /// the shape's window goes, to its own.
    ///
    /// @param qkv `(rows, heads + 2 kvHeads, headDim)`, of which the rotated queries are read
    /// @param out `(rows, heads, headDim)`; only the rows of `sequences` are written
    public void attention(
            float[] qkv, AttentionShape shape, PagedKv kv, int layer, SequenceRows sequences, float[] out) {
        check(qkv, shape, kv, sequences);
        attention.set(qkv, shape, kv, layer, sequences, out);
        pool.forEach(sequences.tiles() * shape.kvHeads(), attention);
    }

    private static void check(float[] qkv, AttentionShape shape, PagedKv kv, SequenceRows sequences) {
        if (kv.kvHeads() != shape.kvHeads() || kv.headDim() != shape.headDim()) {
            throw new TensorException("the KV cache has " + kv.kvHeads() + " heads of " + kv.headDim()
                    + ", the model needs " + shape.kvHeads() + " of " + shape.headDim());
        }
        need("queries, keys and values", qkv, (long) sequences.totalRows() * shape.rowSize());
    }

    private static void need(String what, float[] array, long floats) {
        if (array.length < floats) {
            throw new TensorException(what + " needs " + floats + " floats, the array has " + array.length);
        }
    }

    /// Ends the threads and gives scratch memory back.
    @Override
    public void close() {
        pool.close();
        arena.close();
    }
}
