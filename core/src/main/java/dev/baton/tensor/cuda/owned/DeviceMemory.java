package dev.baton.tensor.cuda.owned;

import java.util.ArrayList;
import java.util.List;

/// Pieces of device memory that end together. Addresses are aligned to 256 bytes; contents are whatever was there.
///
/// Not thread-safe.
public final class DeviceMemory implements AutoCloseable {
    private final Context context;
    private final List<Long> addresses = new ArrayList<>();
    private long bytes;

    public DeviceMemory(Context context) {
        this.context = context;
    }

    /// Takes memory of the device.
    ///
    /// @param what for people, for example `the KV cache`
    /// @throws dev.baton.tensor.TensorException if it is not there: the message says how much is
    public long allocate(long size, String what) {
        long address = context.cuda().allocate(Math.max(1, size), what);
        addresses.add(address);
        bytes += size;
        context.countAllocated(size);
        return address;
    }

    /// All of it so far.
    public long bytes() {
        return bytes;
    }

    @Override
    public void close() {
        for (long address : addresses) {
            context.cuda().free(address);
        }
        addresses.clear();
        context.countAllocated(-bytes);
        bytes = 0;
    }
}
