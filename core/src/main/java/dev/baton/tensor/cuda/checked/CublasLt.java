package dev.baton.tensor.cuda.checked;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.raw.LibCublasLt;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// cuBLASLt with exceptions: `D = A^T B (+ bias)` with sums in f32, over column-major matrices.
///
/// One handle is used from one thread at a time.
public final class CublasLt {
    /// `CUDA_R_32F`
    public static final int F32 = 0;

    /// `CUDA_R_16BF`
    public static final int BF16 = 14;

    /// `cublasLtMatmulAlgo_t`, which says nothing of what is in it.
    public static final int ALGORITHM_BYTES = 64;

    /// `cublasLtMatmulHeuristicResult_t`: the algorithm, its workspace, a status, the waves, four reserved numbers.
    private static final long RESULT_BYTES = 96;

    private static final long RESULT_STATUS_OFFSET = ALGORITHM_BYTES + Long.BYTES;

    private static final int COMPUTE_F32 = 68; // CUBLAS_COMPUTE_32F
    private static final int TRANSPOSE_A = 3; // CUBLASLT_MATMUL_DESC_TRANSA
    private static final int EPILOGUE = 7; // CUBLASLT_MATMUL_DESC_EPILOGUE
    private static final int BIAS_POINTER = 8; // CUBLASLT_MATMUL_DESC_BIAS_POINTER
    private static final int TRANSPOSED = 1; // CUBLAS_OP_T
    private static final int EPILOGUE_BIAS = 4; // CUBLASLT_EPILOGUE_BIAS
    private static final int MAX_WORKSPACE_BYTES = 1; // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES

    private final LibCublasLt lib;

    /// Loads the library.
    ///
    /// @throws TensorException in one sentence if it is missing
    public CublasLt(Map<String, String> environment) {
        this.lib = new LibCublasLt(environment);
    }

    private void check(int status, String doing) {
        if (status != 0) {
            throw new TensorException(Cuda.text(lib.cublasLtGetStatusName(status)) + " while " + doing);
        }
    }

    /// The library's version: an algorithm means the same to it and to no other.
    public long version() {
        return lib.cublasLtGetVersion();
    }

    /// A handle for the current context.
    public long create() {
        return ask("opening cuBLASLt", lib::cublasLtCreate);
    }

    public void destroy(long handle) {
        check(lib.cublasLtDestroy(handle), "closing cuBLASLt");
    }

    /// Describes a product with a transposed first factor.
    ///
    /// @param biasAddress bf16 values, one a row of the result; 0 for none
    public long createOperation(long biasAddress) {
        long operation = ask("describing a product", out -> lib.cublasLtMatmulDescCreate(out, COMPUTE_F32, F32));
        try (Arena arena = Arena.ofConfined()) {
            set(operation, TRANSPOSE_A, arena.allocateFrom(JAVA_INT, TRANSPOSED));
            if (biasAddress != 0) {
                set(operation, EPILOGUE, arena.allocateFrom(JAVA_INT, EPILOGUE_BIAS));
                set(operation, BIAS_POINTER, arena.allocateFrom(JAVA_LONG, biasAddress));
            }
        }
        return operation;
    }

    /// Gives a product another bias.
    ///
    /// @param value scratch memory of 8 bytes
    public void setBias(long operation, long biasAddress, MemorySegment value) {
        value.set(JAVA_LONG, 0, biasAddress);
        set(operation, BIAS_POINTER, value);
    }

    private void set(long operation, int attribute, MemorySegment value) {
        check(
                lib.cublasLtMatmulDescSetAttribute(operation, attribute, value, value.byteSize()),
                "describing a product");
    }

    public void destroyOperation(long operation) {
        check(lib.cublasLtMatmulDescDestroy(operation), "ending a product");
    }

    /// Describes a column-major matrix without gaps.
    public long createLayout(int type, long rows, long columns) {
        return ask("describing a matrix", out -> lib.cublasLtMatrixLayoutCreate(out, type, rows, columns, rows));
    }

    public void destroyLayout(long layout) {
        check(lib.cublasLtMatrixLayoutDestroy(layout), "ending a matrix");
    }

    /// The algorithms that the library thinks fastest, the best first, each in memory of the arena's.
    ///
    /// @param arena what the algorithms live in
    /// @param atMost how many are wanted
    /// @throws TensorException if there is none
    public List<MemorySegment> algorithms(
            Arena arena,
            long handle,
            long operation,
            long aLayout,
            long bLayout,
            long dLayout,
            long workspaceBytes,
            int atMost) {
        long preference = ask("choosing an algorithm", lib::cublasLtMatmulPreferenceCreate);
        try (Arena scratch = Arena.ofConfined()) {
            MemorySegment limit = scratch.allocateFrom(JAVA_LONG, workspaceBytes);
            check(
                    lib.cublasLtMatmulPreferenceSetAttribute(preference, MAX_WORKSPACE_BYTES, limit, Long.BYTES),
                    "choosing an algorithm");
            MemorySegment results = scratch.allocate(atMost * RESULT_BYTES, Long.BYTES);
            MemorySegment found = scratch.allocate(JAVA_INT);
            check(
                    lib.cublasLtMatmulAlgoGetHeuristic(
                            handle, operation, aLayout, bLayout, dLayout, dLayout, preference, atMost, results, found),
                    "choosing an algorithm");
            List<MemorySegment> algorithms = new ArrayList<>();
            for (int i = 0; i < found.get(JAVA_INT, 0); i++) {
                MemorySegment result = results.asSlice(i * RESULT_BYTES, RESULT_BYTES);
                if (result.get(JAVA_INT, RESULT_STATUS_OFFSET) == 0) {
                    MemorySegment algorithm = arena.allocate(ALGORITHM_BYTES, Long.BYTES);
                    algorithm.copyFrom(result.asSlice(0, ALGORITHM_BYTES));
                    algorithms.add(algorithm);
                }
            }
            if (algorithms.isEmpty()) {
                throw new TensorException("cuBLASLt has no algorithm for a product of these sizes");
            }
            return algorithms;
        } finally {
            check(lib.cublasLtMatmulPreferenceDestroy(preference), "choosing an algorithm");
        }
    }

    /// Whether an algorithm, found for other sizes, can do these too with so much workspace.
    public boolean fits(
            long handle,
            long operation,
            long aLayout,
            long bLayout,
            long dLayout,
            long workspaceBytes,
            MemorySegment algorithm) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment result = arena.allocate(RESULT_BYTES, Long.BYTES);
            return lib.cublasLtMatmulAlgoCheck(handle, operation, aLayout, bLayout, dLayout, dLayout, algorithm, result)
                            == 0
                    && result.get(JAVA_LONG, ALGORITHM_BYTES) <= workspaceBytes;
        }
    }

    /// Gives a product to a stream. Allocates nothing.
    ///
    /// @param one the float 1
    /// @param beta the float 0, or 1 if the product is added to what is at `d`
    public void multiply(
            long handle,
            long operation,
            MemorySegment one,
            MemorySegment beta,
            long a,
            long aLayout,
            long b,
            long bLayout,
            long d,
            long dLayout,
            MemorySegment algorithm,
            long workspace,
            long workspaceBytes,
            long stream) {
        check(
                lib.cublasLtMatmul(
                        handle,
                        operation,
                        one,
                        a,
                        aLayout,
                        b,
                        bLayout,
                        beta,
                        d,
                        dLayout,
                        d,
                        dLayout,
                        algorithm,
                        workspace,
                        workspaceBytes,
                        stream),
                "multiplying matrices");
    }

    /// A function that leaves a handle at an address.
    @FunctionalInterface
    private interface Call {
        int into(MemorySegment out);
    }

    private long ask(String doing, Call call) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(call.into(out), doing);
            return out.get(JAVA_LONG, 0);
        }
    }
}
