package dev.baton.tensor.cuda.checked;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.raw.LibCudaIpc;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HexFormat;
import java.util.Map;

/// Device memory between processes of one host: what [LibCudaIpc] has, with exceptions, and with handles as texts.
///
/// Safe to share between threads; a context must be current.
public final class CudaIpc {
    private static final int UUID_BYTES = 16;
    private static final int LAZY_PEER_ACCESS = 1; // CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS

    private final Cuda cuda;
    private final LibCudaIpc lib;

    /// @param environment where `CUDA_HOME` is looked up
    /// @throws TensorException in one sentence if the driver is too old
    public CudaIpc(Cuda cuda, Map<String, String> environment) {
        this.cuda = cuda;
        this.lib = new LibCudaIpc(environment);
    }

    /// A device's own id, in hexadecimal.
    public String deviceUuid(int device) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment uuid = arena.allocate(UUID_BYTES);
            cuda.check(lib.cuDeviceGetUuid(uuid, device), "asking for the device's id");
            return HexFormat.of().formatHex(uuid.toArray(JAVA_BYTE));
        }
    }

    /// What other processes of this host can open memory by, in hexadecimal.
    ///
    /// @param address where an allocation begins
    public String handle(long address) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment handle = arena.allocate(LibCudaIpc.HANDLE);
            cuda.check(lib.cuIpcGetMemHandle(handle, address), "making memory reachable for other processes");
            return HexFormat.of().formatHex(handle.toArray(JAVA_BYTE));
        }
    }

    /// Opens memory of another process of this host.
    ///
    /// @param handle what [#handle] gave there
    /// @return where it begins here
    public long open(String handle) {
        byte[] bytes = parse(handle);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment copy = arena.allocate(LibCudaIpc.HANDLE);
            copy.copyFrom(MemorySegment.ofArray(bytes));
            MemorySegment out = arena.allocate(JAVA_LONG);
            cuda.check(lib.cuIpcOpenMemHandle(out, copy, LAZY_PEER_ACCESS), "opening the memory of another process");
            return out.get(JAVA_LONG, 0);
        }
    }

    private static byte[] parse(String handle) {
        try {
            byte[] bytes = HexFormat.of().parseHex(handle);
            if (bytes.length == LibCudaIpc.HANDLE.byteSize()) {
                return bytes;
            }
        } catch (IllegalArgumentException e) {
            throw new TensorException("a handle of another process's memory is not hexadecimal", e);
        }
        throw new TensorException(
                "a handle of another process's memory is not of " + LibCudaIpc.HANDLE.byteSize() + " bytes");
    }

    /// Ends what [#open] began.
    public void close(long address) {
        cuda.check(lib.cuIpcCloseMemHandle(address), "closing the memory of another process");
    }
}
