package dev.baton.tensor.cuda.owned;

import dev.baton.tensor.cuda.checked.CudaIpc;
import java.util.Map;

/// Memory of a device that another process of this host has allocated, as this process sees it. It stays until
/// both have let go of it.
public final class SharedMemory implements AutoCloseable {
    private final CudaIpc ipc;
    private final long address;

    private SharedMemory(CudaIpc ipc, long address) {
        this.ipc = ipc;
        this.address = address;
    }

    /// Opens it, in a context that is current.
    ///
    /// @param handle what [#handle] gave in the other process
    /// @throws dev.baton.tensor.TensorException if the driver cannot: another host, no way between the devices
    public static SharedMemory open(Context context, Map<String, String> environment, String handle) {
        CudaIpc ipc = new CudaIpc(context.cuda(), environment);
        return new SharedMemory(ipc, ipc.open(handle));
    }

    /// What other processes of this host open memory by.
    ///
    /// @param address where the allocation begins
    public static String handle(Context context, Map<String, String> environment, long address) {
        return new CudaIpc(context.cuda(), environment).handle(address);
    }

    /// The device's own id, in hexadecimal.
    public static String deviceId(Context context, Map<String, String> environment) {
        return new CudaIpc(context.cuda(), environment).deviceUuid(context.device());
    }

    /// Where it begins.
    public long address() {
        return address;
    }

    @Override
    public void close() {
        ipc.close(address);
    }
}
