package dev.baton.tensor.cuda.owned;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.CublasLt;
import dev.baton.tensor.cuda.checked.Cuda;
import dev.baton.tensor.cuda.checked.Nvrtc;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// One device's primary context: the address space that memory, kernels and streams of this process share there.
///
/// [#makeCurrent] is called on each thread that uses anything of it. Closing it ends whatever is still open in
/// it, if nobody else in the process holds the device.
public final class Context implements AutoCloseable {
    private final Cuda cuda;
    private final int device;
    private final long handle;
    private final DeviceInfo info;
    private final AtomicLong allocated = new AtomicLong();
    private boolean closed;

    private Context(Cuda cuda, int device) {
        this.cuda = cuda;
        this.device = device;
        this.info = new DeviceInfo(
                cuda.deviceName(device),
                cuda.deviceAttribute(device, Cuda.COMPUTE_CAPABILITY_MAJOR),
                cuda.deviceAttribute(device, Cuda.COMPUTE_CAPABILITY_MINOR),
                cuda.deviceAttribute(device, Cuda.MULTIPROCESSORS),
                cuda.driverVersion());
        this.handle = cuda.retainPrimaryContext(device);
        cuda.setCurrent(handle);
    }

    /// Opens a device; its context is then current on this thread.
    ///
    /// @param ordinal among the visible ones
    /// @param environment of the process
    /// @throws dev.baton.tensor.TensorException in one sentence if there is no driver or no such device
    public static Context open(int ordinal, Map<String, String> environment) {
        Cuda cuda = Cuda.load(environment);
        return new Context(cuda, cuda.device(ordinal));
    }

    /// How many GPUs are to be seen.
    ///
    /// @throws TensorException in one sentence if there is no driver or no GPU
    public static int count(Map<String, String> environment) {
        return Cuda.load(environment).deviceCount();
    }

    /// The GPUs that are to be seen, as `CUDA_VISIBLE_DEVICES` can name them to another process.
    ///
    /// @param environment of the process
    /// @throws TensorException in one sentence if there is no driver or no GPU
    public static List<String> visible(Map<String, String> environment) {
        int count = count(environment);
        String named = environment.get("CUDA_VISIBLE_DEVICES");
        Stream<String> names = named == null
                ? IntStream.range(0, count).mapToObj(Integer::toString)
                : Arrays.stream(named.split(",")).map(String::strip);
        return names.limit(count).toList();
    }

    /// What is missing to compute on a GPU here, in a sentence; empty if nothing is. Opens no context.
    ///
    /// @param environment of the process
    public static Optional<String> missing(Map<String, String> environment) {
        try {
            Cuda.load(environment);
            new Nvrtc(environment).version();
            new CublasLt(environment);
            return Optional.empty();
        } catch (TensorException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        }
    }

    /// Makes this context the calling thread's.
    public void makeCurrent() {
        cuda.setCurrent(handle);
    }

    /// What the device is.
    public DeviceInfo info() {
        return info;
    }

    void countAllocated(long bytes) {
        allocated.addAndGet(bytes);
    }

    /// Device memory that this process holds by [DeviceMemory]; the driver and the libraries take some more.
    public long allocatedBytes() {
        return allocated.get();
    }

    /// Free and total memory of the device, of all processes.
    public Cuda.MemoryInfo memory() {
        return cuda.memoryInfo();
    }

    /// Waits for everything that any stream of the context was given.
    public void synchronize() {
        cuda.synchronizeContext();
    }

    /// Whether kernels here can be let read and write the memory of another device, or are on the same one.
    public boolean reaches(Context other) {
        return device == other.device || cuda.canAccessPeer(device, other.device);
    }

    /// Lets kernels here read and write the memory of another device, if it is another one. This context must be
    /// current.
    void reach(Context other) {
        if (device != other.device) {
            cuda.enablePeerAccess(other.handle);
        }
    }

    /// The device's number among the visible ones.
    public int device() {
        return device;
    }

    Cuda cuda() {
        return cuda;
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            cuda.releasePrimaryContext(device);
        }
    }
}
