package dev.baton.tensor.cuda.raw;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Map;

/// The driver's library, `libcuda.so.1`: devices, memory, streams, modules, graphs. The `_v2` symbols are meant
/// where there are some: the plain ones are an older ABI with 32-bit sizes.
///
/// Immutable, so safe to share; contexts are current per thread.
public final class LibCuda {
    private final MethodHandle cuInit;
    private final MethodHandle cuDriverGetVersion;
    private final MethodHandle cuDeviceGetCount;
    private final MethodHandle cuDeviceGet;
    private final MethodHandle cuDeviceGetName;
    private final MethodHandle cuDeviceGetAttribute;
    private final MethodHandle cuDevicePrimaryCtxRetain;
    private final MethodHandle cuDevicePrimaryCtxRelease;
    private final MethodHandle cuDeviceCanAccessPeer;
    private final MethodHandle cuCtxEnablePeerAccess;
    private final MethodHandle cuCtxSetCurrent;
    private final MethodHandle cuCtxSynchronize;
    private final MethodHandle cuMemGetInfo;
    private final MethodHandle cuMemAlloc;
    private final MethodHandle cuMemFree;
    private final MethodHandle cuMemHostAlloc;
    private final MethodHandle cuMemFreeHost;
    private final MethodHandle cuMemcpyHtoDAsync;
    private final MethodHandle cuMemcpyDtoHAsync;
    private final MethodHandle cuMemcpyDtoDAsync;
    private final MethodHandle cuMemsetD8Async;
    private final MethodHandle cuStreamCreate;
    private final MethodHandle cuStreamDestroy;
    private final MethodHandle cuStreamSynchronize;
    private final MethodHandle cuStreamQuery;
    private final MethodHandle cuStreamWaitEvent;
    private final MethodHandle cuStreamBeginCapture;
    private final MethodHandle cuStreamEndCapture;
    private final MethodHandle cuGraphInstantiate;
    private final MethodHandle cuGraphUpload;
    private final MethodHandle cuGraphLaunch;
    private final MethodHandle cuGraphExecDestroy;
    private final MethodHandle cuGraphDestroy;
    private final MethodHandle cuEventCreate;
    private final MethodHandle cuEventRecord;
    private final MethodHandle cuEventSynchronize;
    private final MethodHandle cuEventQuery;
    private final MethodHandle cuEventElapsedTime;
    private final MethodHandle cuEventDestroy;
    private final MethodHandle cuModuleLoadData;
    private final MethodHandle cuModuleUnload;
    private final MethodHandle cuModuleGetFunction;
    private final MethodHandle cuFuncSetAttribute;
    private final MethodHandle cuLaunchKernelEx;
    private final MethodHandle cuTensorMapEncodeTiled;
    private final MethodHandle cuGetErrorName;
    private final MethodHandle cuGetErrorString;

    /// Loads the library.
    ///
    /// @param environment where `CUDA_HOME` is looked up
    /// @throws dev.baton.tensor.TensorException in one sentence if it is missing or too old
    public LibCuda(Map<String, String> environment) {
        NativeLibrary library = NativeLibrary.load(
                "The NVIDIA driver",
                List.of("libcuda.so.1"),
                "install the driver, or start with --device cpu",
                environment);
        this.cuInit = library.status("cuInit", JAVA_INT);
        this.cuDriverGetVersion = library.status("cuDriverGetVersion", ADDRESS);
        this.cuDeviceGetCount = library.status("cuDeviceGetCount", ADDRESS);
        this.cuDeviceGet = library.status("cuDeviceGet", ADDRESS, JAVA_INT);
        this.cuDeviceGetName = library.status("cuDeviceGetName", ADDRESS, JAVA_INT, JAVA_INT);
        this.cuDeviceGetAttribute = library.status("cuDeviceGetAttribute", ADDRESS, JAVA_INT, JAVA_INT);
        this.cuDevicePrimaryCtxRetain = library.status("cuDevicePrimaryCtxRetain", ADDRESS, JAVA_INT);
        this.cuDevicePrimaryCtxRelease = library.status("cuDevicePrimaryCtxRelease_v2", JAVA_INT);
        this.cuDeviceCanAccessPeer = library.status("cuDeviceCanAccessPeer", ADDRESS, JAVA_INT, JAVA_INT);
        this.cuCtxEnablePeerAccess = library.status("cuCtxEnablePeerAccess", JAVA_LONG, JAVA_INT);
        this.cuCtxSetCurrent = library.status("cuCtxSetCurrent", JAVA_LONG);
        this.cuCtxSynchronize = library.status("cuCtxSynchronize");
        this.cuMemGetInfo = library.status("cuMemGetInfo_v2", ADDRESS, ADDRESS);
        this.cuMemAlloc = library.status("cuMemAlloc_v2", ADDRESS, JAVA_LONG);
        this.cuMemFree = library.status("cuMemFree_v2", JAVA_LONG);
        this.cuMemHostAlloc = library.status("cuMemHostAlloc", ADDRESS, JAVA_LONG, JAVA_INT);
        this.cuMemFreeHost = library.status("cuMemFreeHost", ADDRESS);
        this.cuMemcpyHtoDAsync = library.status("cuMemcpyHtoDAsync_v2", JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG);
        this.cuMemcpyDtoHAsync = library.status("cuMemcpyDtoHAsync_v2", ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG);
        this.cuMemcpyDtoDAsync = library.status("cuMemcpyDtoDAsync_v2", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);
        this.cuMemsetD8Async = library.status("cuMemsetD8Async", JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_LONG);
        this.cuStreamCreate = library.status("cuStreamCreate", ADDRESS, JAVA_INT);
        this.cuStreamDestroy = library.status("cuStreamDestroy_v2", JAVA_LONG);
        this.cuStreamSynchronize = library.status("cuStreamSynchronize", JAVA_LONG);
        this.cuStreamQuery = library.status("cuStreamQuery", JAVA_LONG);
        this.cuStreamWaitEvent = library.status("cuStreamWaitEvent", JAVA_LONG, JAVA_LONG, JAVA_INT);
        this.cuStreamBeginCapture = library.status("cuStreamBeginCapture_v2", JAVA_LONG, JAVA_INT);
        this.cuStreamEndCapture = library.status("cuStreamEndCapture", JAVA_LONG, ADDRESS);
        this.cuGraphInstantiate = library.status("cuGraphInstantiateWithFlags", ADDRESS, JAVA_LONG, JAVA_LONG);
        this.cuGraphUpload = library.status("cuGraphUpload", JAVA_LONG, JAVA_LONG);
        this.cuGraphLaunch = library.status("cuGraphLaunch", JAVA_LONG, JAVA_LONG);
        this.cuGraphExecDestroy = library.status("cuGraphExecDestroy", JAVA_LONG);
        this.cuGraphDestroy = library.status("cuGraphDestroy", JAVA_LONG);
        this.cuEventCreate = library.status("cuEventCreate", ADDRESS, JAVA_INT);
        this.cuEventRecord = library.status("cuEventRecord", JAVA_LONG, JAVA_LONG);
        this.cuEventSynchronize = library.status("cuEventSynchronize", JAVA_LONG);
        this.cuEventQuery = library.status("cuEventQuery", JAVA_LONG);
        this.cuEventElapsedTime = library.status("cuEventElapsedTime", ADDRESS, JAVA_LONG, JAVA_LONG);
        this.cuEventDestroy = library.status("cuEventDestroy_v2", JAVA_LONG);
        this.cuModuleLoadData = library.status("cuModuleLoadData", ADDRESS, ADDRESS);
        this.cuModuleUnload = library.status("cuModuleUnload", JAVA_LONG);
        this.cuModuleGetFunction = library.status("cuModuleGetFunction", ADDRESS, JAVA_LONG, ADDRESS);
        this.cuFuncSetAttribute = library.status("cuFuncSetAttribute", JAVA_LONG, JAVA_INT, JAVA_INT);
        this.cuLaunchKernelEx = library.status("cuLaunchKernelEx", ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);
        this.cuTensorMapEncodeTiled = library.status(
                "cuTensorMapEncodeTiled",
                ADDRESS,
                JAVA_INT,
                JAVA_INT,
                JAVA_LONG,
                ADDRESS,
                ADDRESS,
                ADDRESS,
                ADDRESS,
                JAVA_INT,
                JAVA_INT,
                JAVA_INT,
                JAVA_INT);
        this.cuGetErrorName = library.status("cuGetErrorName", JAVA_INT, ADDRESS);
        this.cuGetErrorString = library.status("cuGetErrorString", JAVA_INT, ADDRESS);
    }

    public int cuInit(int flags) {
        try {
            return (int) cuInit.invokeExact(flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDriverGetVersion(MemorySegment version) {
        try {
            return (int) cuDriverGetVersion.invokeExact(version);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDeviceGetCount(MemorySegment count) {
        try {
            return (int) cuDeviceGetCount.invokeExact(count);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDeviceGet(MemorySegment device, int ordinal) {
        try {
            return (int) cuDeviceGet.invokeExact(device, ordinal);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDeviceGetName(MemorySegment name, int length, int device) {
        try {
            return (int) cuDeviceGetName.invokeExact(name, length, device);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDeviceGetAttribute(MemorySegment value, int attribute, int device) {
        try {
            return (int) cuDeviceGetAttribute.invokeExact(value, attribute, device);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDevicePrimaryCtxRetain(MemorySegment context, int device) {
        try {
            return (int) cuDevicePrimaryCtxRetain.invokeExact(context, device);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDevicePrimaryCtxRelease(int device) {
        try {
            return (int) cuDevicePrimaryCtxRelease.invokeExact(device);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuDeviceCanAccessPeer(MemorySegment can, int device, int peer) {
        try {
            return (int) cuDeviceCanAccessPeer.invokeExact(can, device, peer);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuCtxEnablePeerAccess(long peer, int flags) {
        try {
            return (int) cuCtxEnablePeerAccess.invokeExact(peer, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuCtxSetCurrent(long context) {
        try {
            return (int) cuCtxSetCurrent.invokeExact(context);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuCtxSynchronize() {
        try {
            return (int) cuCtxSynchronize.invokeExact();
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemGetInfo(MemorySegment free, MemorySegment total) {
        try {
            return (int) cuMemGetInfo.invokeExact(free, total);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemAlloc(MemorySegment address, long bytes) {
        try {
            return (int) cuMemAlloc.invokeExact(address, bytes);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemFree(long address) {
        try {
            return (int) cuMemFree.invokeExact(address);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemHostAlloc(MemorySegment address, long bytes, int flags) {
        try {
            return (int) cuMemHostAlloc.invokeExact(address, bytes, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemFreeHost(MemorySegment address) {
        try {
            return (int) cuMemFreeHost.invokeExact(address);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemcpyHtoDAsync(long to, MemorySegment from, long bytes, long stream) {
        try {
            return (int) cuMemcpyHtoDAsync.invokeExact(to, from, bytes, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemcpyDtoHAsync(MemorySegment to, long from, long bytes, long stream) {
        try {
            return (int) cuMemcpyDtoHAsync.invokeExact(to, from, bytes, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuMemcpyDtoDAsync(long to, long from, long bytes, long stream) {
        try {
            return (int) cuMemcpyDtoDAsync.invokeExact(to, from, bytes, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    /// The value is C's `unsigned char`; its lowest byte counts.
    public int cuMemsetD8Async(long address, int value, long bytes, long stream) {
        try {
            return (int) cuMemsetD8Async.invokeExact(address, value, bytes, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamCreate(MemorySegment stream, int flags) {
        try {
            return (int) cuStreamCreate.invokeExact(stream, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamDestroy(long stream) {
        try {
            return (int) cuStreamDestroy.invokeExact(stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamSynchronize(long stream) {
        try {
            return (int) cuStreamSynchronize.invokeExact(stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamQuery(long stream) {
        try {
            return (int) cuStreamQuery.invokeExact(stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamWaitEvent(long stream, long event, int flags) {
        try {
            return (int) cuStreamWaitEvent.invokeExact(stream, event, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamBeginCapture(long stream, int mode) {
        try {
            return (int) cuStreamBeginCapture.invokeExact(stream, mode);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuStreamEndCapture(long stream, MemorySegment graph) {
        try {
            return (int) cuStreamEndCapture.invokeExact(stream, graph);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGraphInstantiate(MemorySegment executable, long graph, long flags) {
        try {
            return (int) cuGraphInstantiate.invokeExact(executable, graph, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGraphUpload(long executable, long stream) {
        try {
            return (int) cuGraphUpload.invokeExact(executable, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGraphLaunch(long executable, long stream) {
        try {
            return (int) cuGraphLaunch.invokeExact(executable, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGraphExecDestroy(long executable) {
        try {
            return (int) cuGraphExecDestroy.invokeExact(executable);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGraphDestroy(long graph) {
        try {
            return (int) cuGraphDestroy.invokeExact(graph);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventCreate(MemorySegment event, int flags) {
        try {
            return (int) cuEventCreate.invokeExact(event, flags);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventRecord(long event, long stream) {
        try {
            return (int) cuEventRecord.invokeExact(event, stream);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventSynchronize(long event) {
        try {
            return (int) cuEventSynchronize.invokeExact(event);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventQuery(long event) {
        try {
            return (int) cuEventQuery.invokeExact(event);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventElapsedTime(MemorySegment milliseconds, long start, long end) {
        try {
            return (int) cuEventElapsedTime.invokeExact(milliseconds, start, end);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuEventDestroy(long event) {
        try {
            return (int) cuEventDestroy.invokeExact(event);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuModuleLoadData(MemorySegment module, MemorySegment image) {
        try {
            return (int) cuModuleLoadData.invokeExact(module, image);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuModuleUnload(long module) {
        try {
            return (int) cuModuleUnload.invokeExact(module);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuModuleGetFunction(MemorySegment function, long module, MemorySegment name) {
        try {
            return (int) cuModuleGetFunction.invokeExact(function, module, name);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuFuncSetAttribute(long function, int attribute, int value) {
        try {
            return (int) cuFuncSetAttribute.invokeExact(function, attribute, value);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuLaunchKernelEx(
            MemorySegment configuration, long function, MemorySegment parameters, MemorySegment extra) {
        try {
            return (int) cuLaunchKernelEx.invokeExact(configuration, function, parameters, extra);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuTensorMapEncodeTiled(
            MemorySegment map,
            int dataType,
            int rank,
            long address,
            MemorySegment sizes,
            MemorySegment strides,
            MemorySegment box,
            MemorySegment steps,
            int interleave,
            int swizzle,
            int promotion,
            int fill) {
        try {
            return (int) cuTensorMapEncodeTiled.invokeExact(
                    map, dataType, rank, address, sizes, strides, box, steps, interleave, swizzle, promotion, fill);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGetErrorName(int status, MemorySegment name) {
        try {
            return (int) cuGetErrorName.invokeExact(status, name);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }

    public int cuGetErrorString(int status, MemorySegment text) {
        try {
            return (int) cuGetErrorString.invokeExact(status, text);
        } catch (Throwable t) {
            throw NativeLibrary.unexpected(t);
        }
    }
}
