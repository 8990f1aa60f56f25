package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Map;

/// NVRTC, CUDA's compiler at run time.
///
/// Immutable, so safe to share.
public final class LibNvrtc {
    private final MethodHandle nvrtcVersion;
    private final MethodHandle nvrtcCreateProgram;
    private final MethodHandle nvrtcCompileProgram;
    private final MethodHandle nvrtcGetCUBINSize;
    private final MethodHandle nvrtcGetCUBIN;
    private final MethodHandle nvrtcGetProgramLogSize;
    private final MethodHandle nvrtcGetProgramLog;
    private final MethodHandle nvrtcDestroyProgram;
    private final MethodHandle nvrtcGetErrorString;

    /// Loads the library.
    ///
    /// @param environment where `CUDA_HOME` is looked up
    /// @throws dev.baton.tensor.TensorException in one sentence if it is missing or too old
    public LibNvrtc(Map<String, String> environment) {
        NativeLibrary library = NativeLibrary.load(
                "NVRTC, CUDA's run-time compiler,",
                List.of("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"),
                "install it with the CUDA toolkit and set CUDA_HOME or LD_LIBRARY_PATH",
                environment);
        this.nvrtcVersion = library.status("nvrtcVersion", ADDRESS, ADDRESS);
        this.nvrtcCreateProgram =
                library.status("nvrtcCreateProgram", ADDRESS, ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS);
        this.nvrtcCompileProgram = library.status("nvrtcCompileProgram", JAVA_LONG, JAVA_INT, ADDRESS);
        this.nvrtcGetCUBINSize = library.status("nvrtcGetCUBINSize", JAVA_LONG, ADDRESS);
        this.nvrtcGetCUBIN = library.status("nvrtcGetCUBIN", JAVA_LONG, ADDRESS);
        this.nvrtcGetProgramLogSize = library.status("nvrtcGetProgramLogSize", JAVA_LONG, ADDRESS);
        this.nvrtcGetProgramLog = library.status("nvrtcGetProgramLog", JAVA_LONG, ADDRESS);
        this.nvrtcDestroyProgram = library.status("nvrtcDestroyProgram", ADDRESS);
        this.nvrtcGetErrorString = library.text("nvrtcGetErrorString", JAVA_INT);
    }

    public int nvrtcVersion(MemorySegment major, MemorySegment minor) {
        try {
            return (int) nvrtcVersion.invokeExact(major, minor);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcCreateProgram(
            MemorySegment program,
            MemorySegment source,
            MemorySegment name,
            int numHeaders,
            MemorySegment headers,
            MemorySegment includeNames) {
        try {
            return (int) nvrtcCreateProgram.invokeExact(program, source, name, numHeaders, headers, includeNames);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcCompileProgram(long program, int numOptions, MemorySegment options) {
        try {
            return (int) nvrtcCompileProgram.invokeExact(program, numOptions, options);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcGetCUBINSize(long program, MemorySegment size) {
        try {
            return (int) nvrtcGetCUBINSize.invokeExact(program, size);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcGetCUBIN(long program, MemorySegment cubin) {
        try {
            return (int) nvrtcGetCUBIN.invokeExact(program, cubin);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcGetProgramLogSize(long program, MemorySegment size) {
        try {
            return (int) nvrtcGetProgramLogSize.invokeExact(program, size);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcGetProgramLog(long program, MemorySegment log) {
        try {
            return (int) nvrtcGetProgramLog.invokeExact(program, log);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int nvrtcDestroyProgram(MemorySegment program) {
        try {
            return (int) nvrtcDestroyProgram.invokeExact(program);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public MemorySegment nvrtcGetErrorString(int status) {
        try {
            return (MemorySegment) nvrtcGetErrorString.invokeExact(status);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }
}
