package dev.baton.transfer.nixl;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// This side's pool, in host memory or in a GPU's, as NIXL and the connector reach it.
///
/// Thread-safe. Owns the way to the device, not the pool.
final class LocalPool implements AutoCloseable {
    /// So that the thread sees to its other work in between: on one host, reading is copying by that thread.
    private static final long HOST_READ_BYTES = 16L << 20;

    /// GPUs copy by themselves, at 365 GB/s where they have NVLink; each read costs a look for its end.
    private static final long DEVICE_READ_BYTES = 256L << 20;

    private final PagedKv pool;
    private final @Nullable DeviceBlocks device;
    private final int memory;
    private final long bytesPerRead;

    LocalPool(PagedKv pool) {
        this(pool, NixlAgent.VRAM, pool.isOnDevice() ? DEVICE_READ_BYTES : HOST_READ_BYTES);
    }

    /// @param deviceMemory what NIXL calls a device's memory
    /// @param bytesPerRead how much is asked for at a time
    LocalPool(PagedKv pool, int deviceMemory, long bytesPerRead) {
        this.pool = pool;
        this.device = pool.isOnDevice() ? pool.openDeviceBlocks() : null;
        this.memory = device == null ? NixlAgent.DRAM : deviceMemory;
        this.bytesPerRead = bytesPerRead;
    }

    /// Shape and places of its blocks.
    PagedKv kv() {
        return pool;
    }

    boolean isOnDevice() {
        return device != null;
    }

    /// [NixlAgent#DRAM] or [NixlAgent#VRAM].
    int memory() {
        return memory;
    }

    int deviceId() {
        return device == null ? 0 : device.ordinal();
    }

    /// Where its first block begins.
    long address() {
        return device == null ? pool.segment().address() : pool.deviceAddress();
    }

    long numBytes() {
        return pool.numBlocks() * pool.blockBytes();
    }

    long bytesPerRead() {
        return bytesPerRead;
    }

    /// Reads that are given to NIXL at a time, so that a GPU has the next one when it has ended one.
    int readsAtOnce() {
        return device == null ? 1 : 2;
    }

    /// To be called by a thread before it calls NIXL: UCX takes the device that is current there.
    void makeCurrent() {
        if (device != null) {
            device.makeCurrent();
        }
    }

    /// Waits until no copy of this process is under way on the device.
    void settle() {
        if (device != null) {
            device.settle();
        }
    }

    /// The checksums that this side computes fastest.
    BlockSums sums() {
        return device == null ? BlockSums.CRC32C : BlockSums.DEVICE;
    }

    /// [DeviceBlocks#sums], for a pool in host memory too.
    long[] deviceSums(int[] blocks, long[] seeds) {
        return device == null ? BlockSums.onHost(pool, blocks, seeds) : device.sums(blocks, seeds);
    }

    /// Writes into one block.
    @FunctionalInterface
    interface Edit {
        /// Writes.
        ///
        /// @param memory with blocks as in the pool
        /// @param block the one to write, by its number there
        void apply(MemorySegment memory, int block);
    }

    /// Lets parts of a block be written by the host; nobody else may touch the block meanwhile.
    ///
    /// @param whole whether all of it is written
    void edit(int block, boolean whole, Edit edit) {
        if (device == null) {
            edit.apply(pool.segment(), block);
            return;
        }
        try (DeviceBlocks.Staging staging = device.newStaging()) {
            if (!whole) {
                staging.read(block);
            }
            edit.apply(staging.segment(), 0);
            staging.write(block);
        }
    }

    @Override
    public void close() {
        if (device != null) {
            device.close();
        }
    }
}
