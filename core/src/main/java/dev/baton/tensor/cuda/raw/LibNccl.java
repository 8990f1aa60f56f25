package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.PythonPath;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;

/// NCCL: communication between GPUs, of one process or of several.
///
/// Immutable, so safe to share; a communicator is used from one thread at a time.
public final class LibNccl {
    /// `ncclUniqueId`, which is handed over by value.
    public static final MemoryLayout UNIQUE_ID = MemoryLayout.structLayout(MemoryLayout.sequenceLayout(128, JAVA_BYTE));

    /// Where the Python package `nvidia-nccl-cu*` keeps it, below a folder of packages.
    private static final String IN_PACKAGES = "nvidia/nccl/lib/libnccl.so.2";

    private final MethodHandle ncclGetVersion;
    private final MethodHandle ncclGetUniqueId;
    private final MethodHandle ncclCommInitAll;
    private final MethodHandle ncclCommInitRankConfig;
    private final MethodHandle ncclCommGetAsyncError;
    private final MethodHandle ncclCommAbort;
    private final MethodHandle ncclCommDestroy;
    private final MethodHandle ncclAllReduce;
    private final MethodHandle ncclAllGather;
    private final MethodHandle ncclSend;
    private final MethodHandle ncclRecv;
    private final MethodHandle ncclGroupStart;
    private final MethodHandle ncclGroupEnd;
    private final MethodHandle ncclGetErrorString;
    private final MethodHandle ncclGetLastError;

    /// Loads the library.
    ///
    /// @param environment where `CUDA_HOME` is looked up
    /// @throws dev.baton.tensor.TensorException in one sentence if it is missing or too old
    public LibNccl(Map<String, String> environment) {
        NativeLibrary library = NativeLibrary.load(
                "NCCL",
                List.of("libnccl.so.2", "libnccl.so"),
                "install it (as a package of the system, or nvidia-nccl of the python3 on the PATH), or set"
                        + " LD_LIBRARY_PATH",
                environment,
                () -> PythonPath.folders().stream()
                        .map(folder -> folder.resolve(IN_PACKAGES))
                        .filter(Files::exists)
                        .toList());
        this.ncclGetVersion = library.status("ncclGetVersion", ADDRESS);
        this.ncclGetUniqueId = library.status("ncclGetUniqueId", ADDRESS);
        this.ncclCommInitAll = library.status("ncclCommInitAll", ADDRESS, JAVA_INT, ADDRESS);
        this.ncclCommInitRankConfig =
                library.status("ncclCommInitRankConfig", ADDRESS, JAVA_INT, UNIQUE_ID, JAVA_INT, ADDRESS);
        this.ncclCommGetAsyncError = library.status("ncclCommGetAsyncError", JAVA_LONG, ADDRESS);
        this.ncclCommAbort = library.status("ncclCommAbort", JAVA_LONG);
        this.ncclCommDestroy = library.status("ncclCommDestroy", JAVA_LONG);
        this.ncclAllReduce = library.status(
                "ncclAllReduce", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG);
        this.ncclAllGather =
                library.status("ncclAllGather", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_LONG);
        this.ncclSend = library.status("ncclSend", JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG);
        this.ncclRecv = library.status("ncclRecv", JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG);
        this.ncclGroupStart = library.status("ncclGroupStart");
        this.ncclGroupEnd = library.status("ncclGroupEnd");
        this.ncclGetErrorString = library.text("ncclGetErrorString", JAVA_INT);
        this.ncclGetLastError = library.text("ncclGetLastError", JAVA_LONG);
    }

    public int ncclGetVersion(MemorySegment version) {
        try {
            return (int) ncclGetVersion.invokeExact(version);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclGetUniqueId(MemorySegment uniqueId) {
        try {
            return (int) ncclGetUniqueId.invokeExact(uniqueId);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclCommInitAll(MemorySegment communicators, int count, MemorySegment devices) {
        try {
            return (int) ncclCommInitAll.invokeExact(communicators, count, devices);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclCommInitRankConfig(
            MemorySegment communicator, int ranks, MemorySegment uniqueId, int rank, MemorySegment config) {
        try {
            return (int) ncclCommInitRankConfig.invokeExact(communicator, ranks, uniqueId, rank, config);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclCommGetAsyncError(long communicator, MemorySegment status) {
        try {
            return (int) ncclCommGetAsyncError.invokeExact(communicator, status);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclCommAbort(long communicator) {
        try {
            return (int) ncclCommAbort.invokeExact(communicator);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclCommDestroy(long communicator) {
        try {
            return (int) ncclCommDestroy.invokeExact(communicator);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclAllReduce(long from, long to, long count, int type, int operation, long communicator, long stream) {
        try {
            return (int) ncclAllReduce.invokeExact(from, to, count, type, operation, communicator, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclAllGather(long from, long to, long count, int type, long communicator, long stream) {
        try {
            return (int) ncclAllGather.invokeExact(from, to, count, type, communicator, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclSend(long from, long count, int type, int peer, long communicator, long stream) {
        try {
            return (int) ncclSend.invokeExact(from, count, type, peer, communicator, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclRecv(long to, long count, int type, int peer, long communicator, long stream) {
        try {
            return (int) ncclRecv.invokeExact(to, count, type, peer, communicator, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclGroupStart() {
        try {
            return (int) ncclGroupStart.invokeExact();
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int ncclGroupEnd() {
        try {
            return (int) ncclGroupEnd.invokeExact();
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public MemorySegment ncclGetErrorString(int status) {
        try {
            return (MemorySegment) ncclGetErrorString.invokeExact(status);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public MemorySegment ncclGetLastError(long communicator) {
        try {
            return (MemorySegment) ncclGetLastError.invokeExact(communicator);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }
}
