package dev.baton.tensor.cuda.checked;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.raw.LibCuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;

/// The driver: what [LibCuda] has, with exceptions and without result pointers.
///
/// Safe to share between threads; what belongs to a context needs that context to be current on the thread.
public final class Cuda {
    /// `CU_DEVICE_ATTRIBUTE_...`
    public static final int MULTIPROCESSORS = 16;

    public static final int COMPUTE_CAPABILITY_MAJOR = 75;
    public static final int COMPUTE_CAPABILITY_MINOR = 76;

    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`
    public static final int MAX_DYNAMIC_SHARED_BYTES = 8;

    /// `sizeof(CUtensorMap)`, which is aligned to half of that.
    public static final int TENSOR_MAP_BYTES = 128;

    private static final int TENSOR_OF_BF16 = 9; // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
    private static final int SWIZZLE_128_BYTES = 3; // CU_TENSOR_MAP_SWIZZLE_128B
    private static final int PROMOTE_128_BYTES = 2; // CU_TENSOR_MAP_L2_PROMOTION_L2_128B

    private static final int OUT_OF_MEMORY = 2;
    private static final int NO_DEVICE = 100;
    private static final int NOT_READY = 600;
    private static final int PEER_ACCESS_ALREADY_ENABLED = 704;
    private static final int CAPTURE_THIS_THREAD = 1; // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    private static final int NON_BLOCKING_STREAM = 1; // CU_STREAM_NON_BLOCKING
    private static final int MAX_NAME_BYTES = 256;

    private final LibCuda lib;

    private Cuda(LibCuda lib) {
        this.lib = lib;
    }

    /// Loads and initialises the driver.
    ///
    /// @param environment where `CUDA_VISIBLE_DEVICES` and `CUDA_HOME` are looked up
    /// @throws TensorException in one sentence if there is no driver or no GPU to be seen
    public static Cuda load(Map<String, String> environment) {
        Cuda cuda = new Cuda(new LibCuda(environment));
        int status = cuda.lib.cuInit(0);
        String visible = environment.get("CUDA_VISIBLE_DEVICES");
        if (status == NO_DEVICE) {
            throw new TensorException("there is no NVIDIA GPU to be seen"
                    + (visible == null ? "" : ": CUDA_VISIBLE_DEVICES is \"" + visible + "\""));
        }
        cuda.check(status, "initialising the driver");
        if (cuda.deviceCount() == 0) {
            throw new TensorException("there is no NVIDIA GPU to be seen"
                    + (visible == null ? "" : ": CUDA_VISIBLE_DEVICES is \"" + visible + "\""));
        }
        return cuda;
    }

    void check(int status, String doing) {
        if (status != 0) {
            throw new TensorException(describe(status) + " while " + doing);
        }
    }

    private String describe(int status) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            String name = lib.cuGetErrorName(status, out) == 0 ? text(out.get(ADDRESS, 0)) : "CUDA error " + status;
            return lib.cuGetErrorString(status, out) == 0 ? name + " (" + text(out.get(ADDRESS, 0)) + ")" : name;
        }
    }

    static String text(MemorySegment address) {
        return address.address() == 0 ? "" : address.reinterpret(MAX_NAME_BYTES).getString(0);
    }

    /// The newest CUDA that the driver knows, for example `13.0`.
    public String driverVersion() {
        int version = ask("asking for the driver's version", lib::cuDriverGetVersion);
        return version / 1000 + "." + version % 1000 / 10;
    }

    public int deviceCount() {
        return ask("counting the devices", lib::cuDeviceGetCount);
    }

    /// The handle of the n-th visible device.
    public int device(int ordinal) {
        return ask("opening device " + ordinal, out -> lib.cuDeviceGet(out, ordinal));
    }

    public String deviceName(int device) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment name = arena.allocate(MAX_NAME_BYTES);
            check(lib.cuDeviceGetName(name, MAX_NAME_BYTES, device), "asking for the device's name");
            return name.getString(0);
        }
    }

    public int deviceAttribute(int device, int attribute) {
        return ask(
                "asking for the device's attribute " + attribute,
                out -> lib.cuDeviceGetAttribute(out, attribute, device));
    }

    /// Takes a reference to the device's primary context, which cuBLAS and NCCL share.
    public long retainPrimaryContext(int device) {
        return askLong("opening the device's context", out -> lib.cuDevicePrimaryCtxRetain(out, device));
    }

    public void releasePrimaryContext(int device) {
        check(lib.cuDevicePrimaryCtxRelease(device), "closing the device's context");
    }

    /// Whether a device's kernels can be let read and write another's memory.
    public boolean canAccessPeer(int device, int peer) {
        return ask(
                        "asking whether device " + device + " reaches the memory of device " + peer,
                        out -> lib.cuDeviceCanAccessPeer(out, device, peer))
                != 0;
    }

    /// Lets kernels of the current context read and write the memory of another one.
    public void enablePeerAccess(long peer) {
        int status = lib.cuCtxEnablePeerAccess(peer, 0);
        if (status != PEER_ACCESS_ALREADY_ENABLED) { // NCCL does the same
            check(status, "letting a device reach another one's memory");
        }
    }

    /// Makes a context the calling thread's.
    public void setCurrent(long context) {
        check(lib.cuCtxSetCurrent(context), "making the device's context current");
    }

    /// Waits for everything that the context has been given.
    public void synchronizeContext() {
        check(lib.cuCtxSynchronize(), "waiting for the device");
    }

    /// Free and total memory of the device, of all processes.
    public MemoryInfo memoryInfo() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG, 2);
            check(lib.cuMemGetInfo(out, out.asSlice(JAVA_LONG.byteSize())), "asking for the device's memory");
            return new MemoryInfo(out.getAtIndex(JAVA_LONG, 0), out.getAtIndex(JAVA_LONG, 1));
        }
    }

    /// A device's memory at some moment, whoever uses it.
    ///
    /// @param freeBytes what nobody uses
    /// @param totalBytes what the device has
    public record MemoryInfo(long freeBytes, long totalBytes) {}

    /// Takes device memory.
    ///
    /// @param what for people, for example `the KV cache`
    /// @throws TensorException if it is not there: the message says how much is
    public long allocate(long bytes, String what) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            int status = lib.cuMemAlloc(out, bytes);
            if (status == OUT_OF_MEMORY) {
                MemoryInfo memory = memoryInfo();
                throw new TensorException(String.format(
                        Locale.ROOT,
                        "the GPU's memory has no room for %s: needed are %.2f GiB, free are %.2f of %.2f GiB",
                        what,
                        gib(bytes),
                        gib(memory.freeBytes),
                        gib(memory.totalBytes)));
            }
            check(status, "allocating " + bytes + " bytes for " + what);
            return out.get(JAVA_LONG, 0);
        }
    }

    private static double gib(long bytes) {
        return bytes / (double) (1L << 30);
    }

    public void free(long address) {
        check(lib.cuMemFree(address), "freeing device memory");
    }

    /// Host memory that the device reads and writes by itself.
    public MemorySegment allocatePinned(long bytes) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ADDRESS);
            check(lib.cuMemHostAlloc(out, bytes, 0), "allocating " + bytes + " bytes of pinned host memory");
            return out.get(ADDRESS, 0).reinterpret(bytes);
        }
    }

    public void freePinned(MemorySegment memory) {
        check(lib.cuMemFreeHost(memory), "freeing pinned host memory");
    }

    public void copyToDevice(long to, MemorySegment from, long bytes, long stream) {
        check(lib.cuMemcpyHtoDAsync(to, from, bytes, stream), "copying to the device");
    }

    public void copyToHost(MemorySegment to, long from, long bytes, long stream) {
        check(lib.cuMemcpyDtoHAsync(to, from, bytes, stream), "copying to the host");
    }

    public void copyOnDevice(long to, long from, long bytes, long stream) {
        check(lib.cuMemcpyDtoDAsync(to, from, bytes, stream), "copying on the device");
    }

    public void fill(long address, int value, long bytes, long stream) {
        check(lib.cuMemsetD8Async(address, value, bytes, stream), "filling device memory");
    }

    public long createStream() {
        return askLong("making a stream", out -> lib.cuStreamCreate(out, NON_BLOCKING_STREAM));
    }

    public void destroyStream(long stream) {
        check(lib.cuStreamDestroy(stream), "ending a stream");
    }

    /// Waits for what the stream has been given; a failure of any of it shows here.
    public void synchronize(long stream) {
        check(lib.cuStreamSynchronize(stream), "waiting for the stream");
    }

    /// Whether all that the stream has been given is done; a failure of any of it shows here.
    public boolean isDone(long stream) {
        return isReady(lib.cuStreamQuery(stream), "asking for the state of the stream");
    }

    private boolean isReady(int status, String doing) {
        if (status != NOT_READY) {
            check(status, doing);
        }
        return status != NOT_READY;
    }

    /// Has what the stream is given from now on wait for an event.
    public void awaitEvent(long stream, long event) {
        check(lib.cuStreamWaitEvent(stream, event, 0), "having a stream wait for an event");
    }

    public void beginCapture(long stream) {
        check(lib.cuStreamBeginCapture(stream, CAPTURE_THIS_THREAD), "beginning to capture a graph");
    }

    public long endCapture(long stream) {
        return askLong("capturing a graph", out -> lib.cuStreamEndCapture(stream, out));
    }

    public long instantiate(long graph) {
        return askLong("making a graph executable", out -> lib.cuGraphInstantiate(out, graph, 0));
    }

    public void uploadGraph(long executable, long stream) {
        check(lib.cuGraphUpload(executable, stream), "uploading a graph");
    }

    public void launchGraph(long executable, long stream) {
        check(lib.cuGraphLaunch(executable, stream), "launching a graph");
    }

    public void destroyExecutable(long executable) {
        check(lib.cuGraphExecDestroy(executable), "ending an executable graph");
    }

    public void destroyGraph(long graph) {
        check(lib.cuGraphDestroy(graph), "ending a graph");
    }

    public long createEvent() {
        return askLong("making an event", out -> lib.cuEventCreate(out, 0));
    }

    public void record(long event, long stream) {
        check(lib.cuEventRecord(event, stream), "recording an event");
    }

    public void synchronizeEvent(long event) {
        check(lib.cuEventSynchronize(event), "waiting for an event");
    }

    /// Whether the device has come to an event; a failure of what was before it shows here.
    public boolean isReached(long event) {
        return isReady(lib.cuEventQuery(event), "asking for the state of an event");
    }

    public float elapsedMillis(long start, long end) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_FLOAT);
            check(lib.cuEventElapsedTime(out, start, end), "reading the time between two events");
            return out.get(JAVA_FLOAT, 0);
        }
    }

    public void destroyEvent(long event) {
        check(lib.cuEventDestroy(event), "ending an event");
    }

    /// Loads compiled kernels.
    ///
    /// @param name for the message
    public long loadModule(MemorySegment image, String name) {
        return askLong("loading the kernels of " + name, out -> lib.cuModuleLoadData(out, image));
    }

    public void unloadModule(long module) {
        check(lib.cuModuleUnload(module), "unloading kernels");
    }

    public long function(long module, String name) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocateFrom(name);
            return askLong("finding the kernel " + name, out -> lib.cuModuleGetFunction(out, module, text));
        }
    }

    public void setFunctionAttribute(long function, int attribute, int value) {
        check(lib.cuFuncSetAttribute(function, attribute, value), "setting attribute " + attribute + " of a kernel");
    }

    /// Gives a kernel to a stream. Allocates nothing unless it fails.
    ///
    /// @param name for the message
    /// @param configuration a `CUlaunchConfig`
    /// @param parameters one address an argument; read before this returns
    public void launch(long function, String name, MemorySegment configuration, MemorySegment parameters) {
        int status = lib.cuLaunchKernelEx(configuration, function, parameters, MemorySegment.NULL);
        if (status != 0) {
            throw new TensorException(describe(status) + " while launching the kernel " + name);
        }
    }

    /// Describes a tensor of bf16 to the device's tensor memory accelerator (Hopper and later), which brings boxes
    /// of it into shared memory, their rows of 128 bytes swizzled.
    ///
    /// @param map a `CUtensorMap`, overwritten
    /// @param address a multiple of 16
    /// @param sizes elements in each dimension, the innermost first; its elements lie side by side
    /// @param strideBytes distance of neighbours in each dimension but the innermost, multiples of 16
    /// @param box elements of a box in each dimension, at most 256; 64 in the innermost
    public void encodeTensorMap(MemorySegment map, long address, long[] sizes, long[] strideBytes, int[] box) {
        int[] steps = new int[sizes.length];
        Arrays.fill(steps, 1);
        try (Arena arena = Arena.ofConfined()) {
            check(
                    lib.cuTensorMapEncodeTiled(
                            map,
                            TENSOR_OF_BF16,
                            sizes.length,
                            address,
                            arena.allocateFrom(JAVA_LONG, sizes),
                            arena.allocateFrom(JAVA_LONG, strideBytes),
                            arena.allocateFrom(JAVA_INT, box),
                            arena.allocateFrom(JAVA_INT, steps),
                            0, // not interleaved
                            SWIZZLE_128_BYTES,
                            PROMOTE_128_BYTES,
                            0), // zeros outside of the tensor
                    "describing a tensor");
        }
    }

    /// A function that leaves its result at an address.
    @FunctionalInterface
    private interface Call {
        int into(MemorySegment out);
    }

    private int ask(String doing, Call call) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            check(call.into(out), doing);
            return out.get(JAVA_INT, 0);
        }
    }

    private long askLong(String doing, Call call) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(call.into(out), doing);
            return out.get(JAVA_LONG, 0);
        }
    }
}
