package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Map;

/// What `libcuda.so.1` has for memory that processes share. Apart from [LibCuda], as nothing else needs it.
///
/// Immutable, so safe to share; contexts are current per thread.
public final class LibCudaIpc {
    /// `CUipcMemHandle`, which is handed over by value.
    public static final MemoryLayout HANDLE = MemoryLayout.structLayout(MemoryLayout.sequenceLayout(64, JAVA_BYTE));

    private final MethodHandle cuDeviceGetUuid;
    private final MethodHandle cuIpcGetMemHandle;
    private final MethodHandle cuIpcOpenMemHandle;
    private final MethodHandle cuIpcCloseMemHandle;

    /// Loads the library.
    ///
    /// @param environment where `CUDA_HOME` is looked up
    /// @throws dev.baton.tensor.TensorException in one sentence if it is missing or too old
    public LibCudaIpc(Map<String, String> environment) {
        NativeLibrary library = NativeLibrary.load(
                "The NVIDIA driver",
                List.of("libcuda.so.1"),
                "install the driver, or start with --device cpu",
                environment);
        this.cuDeviceGetUuid = library.status("cuDeviceGetUuid_v2", ADDRESS, JAVA_INT);
        this.cuIpcGetMemHandle = library.status("cuIpcGetMemHandle", ADDRESS, JAVA_LONG);
        this.cuIpcOpenMemHandle = library.status("cuIpcOpenMemHandle_v2", ADDRESS, HANDLE, JAVA_INT);
        this.cuIpcCloseMemHandle = library.status("cuIpcCloseMemHandle", JAVA_LONG);
    }

    public int cuDeviceGetUuid(MemorySegment uuid, int device) {
        try {
            return (int) cuDeviceGetUuid.invokeExact(uuid, device);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuIpcGetMemHandle(MemorySegment handle, long address) {
        try {
            return (int) cuIpcGetMemHandle.invokeExact(handle, address);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuIpcOpenMemHandle(MemorySegment address, MemorySegment handle, int flags) {
        try {
            return (int) cuIpcOpenMemHandle.invokeExact(address, handle, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuIpcCloseMemHandle(long address) {
        try {
            return (int) cuIpcCloseMemHandle.invokeExact(address);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }
}
