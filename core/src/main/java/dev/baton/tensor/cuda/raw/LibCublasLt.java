package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Map;

/// cuBLASLt: matrix products with a choice of algorithms.
///
/// Immutable, so safe to share; a handle is used from one thread.
public final class LibCublasLt {
    private final MethodHandle cublasLtCreate;
    private final MethodHandle cublasLtDestroy;
    private final MethodHandle cublasLtMatmulDescCreate;
    private final MethodHandle cublasLtMatmulDescDestroy;
    private final MethodHandle cublasLtMatmulDescSetAttribute;
    private final MethodHandle cublasLtMatrixLayoutCreate;
    private final MethodHandle cublasLtMatrixLayoutDestroy;
    private final MethodHandle cublasLtMatmulPreferenceCreate;
    private final MethodHandle cublasLtMatmulPreferenceDestroy;
    private final MethodHandle cublasLtMatmulPreferenceSetAttribute;
    private final MethodHandle cublasLtMatmulAlgoGetHeuristic;
    private final MethodHandle cublasLtMatmulAlgoCheck;
    private final MethodHandle cublasLtMatmul;
    private final MethodHandle cublasLtGetStatusName;
    private final MethodHandle cublasLtGetVersion;

    /// Loads the library.
    ///
    /// @param environment where `CUDA_HOME` is looked up
    /// @throws dev.baton.tensor.TensorException in one sentence if it is missing or too old
    public LibCublasLt(Map<String, String> environment) {
        NativeLibrary library = NativeLibrary.load(
                "cuBLASLt",
                List.of("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"),
                "install it with the CUDA toolkit and set CUDA_HOME or LD_LIBRARY_PATH",
                environment);
        this.cublasLtCreate = library.status("cublasLtCreate", ADDRESS);
        this.cublasLtDestroy = library.status("cublasLtDestroy", JAVA_LONG);
        this.cublasLtMatmulDescCreate = library.status("cublasLtMatmulDescCreate", ADDRESS, JAVA_INT, JAVA_INT);
        this.cublasLtMatmulDescDestroy = library.status("cublasLtMatmulDescDestroy", JAVA_LONG);
        this.cublasLtMatmulDescSetAttribute =
                library.status("cublasLtMatmulDescSetAttribute", JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG);
        this.cublasLtMatrixLayoutCreate =
                library.status("cublasLtMatrixLayoutCreate", ADDRESS, JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
        this.cublasLtMatrixLayoutDestroy = library.status("cublasLtMatrixLayoutDestroy", JAVA_LONG);
        this.cublasLtMatmulPreferenceCreate = library.status("cublasLtMatmulPreferenceCreate", ADDRESS);
        this.cublasLtMatmulPreferenceDestroy = library.status("cublasLtMatmulPreferenceDestroy", JAVA_LONG);
        this.cublasLtMatmulPreferenceSetAttribute =
                library.status("cublasLtMatmulPreferenceSetAttribute", JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG);
        this.cublasLtMatmulAlgoGetHeuristic = library.status(
                "cublasLtMatmulAlgoGetHeuristic",
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_INT,
                ADDRESS,
                ADDRESS);
        this.cublasLtMatmulAlgoCheck = library.status(
                "cublasLtMatmulAlgoCheck",
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                ADDRESS,
                ADDRESS);
        this.cublasLtMatmul = library.status(
                "cublasLtMatmul",
                JAVA_LONG,
                JAVA_LONG,
                ADDRESS,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                ADDRESS,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                ADDRESS,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG);
        this.cublasLtGetStatusName = library.text("cublasLtGetStatusName", JAVA_INT);
        this.cublasLtGetVersion = library.number("cublasLtGetVersion");
    }

    public int cublasLtCreate(MemorySegment handle) {
        try {
            return (int) cublasLtCreate.invokeExact(handle);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtDestroy(long handle) {
        try {
            return (int) cublasLtDestroy.invokeExact(handle);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulDescCreate(MemorySegment operation, int computeType, int scaleType) {
        try {
            return (int) cublasLtMatmulDescCreate.invokeExact(operation, computeType, scaleType);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulDescDestroy(long operation) {
        try {
            return (int) cublasLtMatmulDescDestroy.invokeExact(operation);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulDescSetAttribute(long operation, int attribute, MemorySegment value, long bytes) {
        try {
            return (int) cublasLtMatmulDescSetAttribute.invokeExact(operation, attribute, value, bytes);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatrixLayoutCreate(
            MemorySegment layout, int type, long rows, long columns, long leadingDimension) {
        try {
            return (int) cublasLtMatrixLayoutCreate.invokeExact(layout, type, rows, columns, leadingDimension);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatrixLayoutDestroy(long layout) {
        try {
            return (int) cublasLtMatrixLayoutDestroy.invokeExact(layout);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulPreferenceCreate(MemorySegment preference) {
        try {
            return (int) cublasLtMatmulPreferenceCreate.invokeExact(preference);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulPreferenceDestroy(long preference) {
        try {
            return (int) cublasLtMatmulPreferenceDestroy.invokeExact(preference);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulPreferenceSetAttribute(long preference, int attribute, MemorySegment value, long bytes) {
        try {
            return (int) cublasLtMatmulPreferenceSetAttribute.invokeExact(preference, attribute, value, bytes);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulAlgoGetHeuristic(
            long handle,
            long operation,
            long aLayout,
            long bLayout,
            long cLayout,
            long dLayout,
            long preference,
            int asked,
            MemorySegment results,
            MemorySegment found) {
        try {
            return (int) cublasLtMatmulAlgoGetHeuristic.invokeExact(
                    handle, operation, aLayout, bLayout, cLayout, dLayout, preference, asked, results, found);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmulAlgoCheck(
            long handle,
            long operation,
            long aLayout,
            long bLayout,
            long cLayout,
            long dLayout,
            MemorySegment algorithm,
            MemorySegment result) {
        try {
            return (int) cublasLtMatmulAlgoCheck.invokeExact(
                    handle, operation, aLayout, bLayout, cLayout, dLayout, algorithm, result);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cublasLtMatmul(
            long handle,
            long operation,
            MemorySegment alpha,
            long a,
            long aLayout,
            long b,
            long bLayout,
            MemorySegment beta,
            long c,
            long cLayout,
            long d,
            long dLayout,
            MemorySegment algorithm,
            long workspace,
            long workspaceBytes,
            long stream) {
        try {
            return (int) cublasLtMatmul.invokeExact(
                    handle,
                    operation,
                    alpha,
                    a,
                    aLayout,
                    b,
                    bLayout,
                    beta,
                    c,
                    cLayout,
                    d,
                    dLayout,
                    algorithm,
                    workspace,
                    workspaceBytes,
                    stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public MemorySegment cublasLtGetStatusName(int status) {
        try {
            return (MemorySegment) cublasLtGetStatusName.invokeExact(status);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public long cublasLtGetVersion() {
        try {
            return (long) cublasLtGetVersion.invokeExact();
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }
}
