package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.PagedKv;
import java.nio.ByteBuffer;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// This side's pool, in host memory or on a device, as the connector reads and writes it.
///
/// Thread-safe. Owns the way to the device, not the pool.
final class LocalPool implements AutoCloseable {
    private final PagedKv pool;
    private final @Nullable DeviceBlocks device;
    private final Optional<PoolSharing> sharing;

    /// @param cudaIpc whether other processes of this host may read a device's pool, and this one theirs
    /// @param sharedMemory whether they may read a pool in host memory
    LocalPool(PagedKv pool, boolean cudaIpc, boolean sharedMemory) {
        this.pool = pool;
        if (pool.isOnDevice()) {
            this.device = pool.openDeviceBlocks();
            this.sharing = cudaIpc
                    ? Optional.of(new DeviceSharing(device, pool.blockTokens(), blockBytes(), layerBytes()))
                    : Optional.empty();
        } else {
            this.device = null;
            this.sharing = sharedMemory ? Optional.of(new HostSharing(pool)) : Optional.empty();
        }
    }

    boolean isOnDevice() {
        return device != null;
    }

    long blockBytes() {
        return pool.blockBytes();
    }

    int blockTokens() {
        return pool.blockTokens();
    }

    /// How other processes of this host can read the pool, and this one theirs.
    DeviceBlocks.Offer offer() {
        return sharing.map(PoolSharing::offer).orElse(DeviceBlocks.Offer.NONE);
    }

    /// How processes of this host read each other's pools, if they may.
    Optional<PoolSharing> sharing() {
        return sharing;
    }

    /// A window on one block at a time, for one thread at a time.
    Window newWindow() {
        return device == null ? new HostWindow() : new DeviceWindow(device);
    }

    @Override
    public void close() {
        if (device != null) {
            device.close();
        }
    }

    /// How many layers a block has.
    int layers() {
        return pool.layers();
    }

    /// How long the part of a block is that one layer has; the layers' parts lie side by side.
    long layerBytes() {
        return pool.blockBytes() / pool.layers();
    }

    /// The bytes of a block, or of a part of it, where the host can read and write them.
    interface Window extends AutoCloseable {
        /// Bytes of a block, to be read until the next call.
        ByteBuffer read(int block, long offset, long bytes);

        /// Where bytes of a block go that have yet to come.
        ByteBuffer fill(int block, long offset, long bytes);

        /// Brings what was filled into the pool.
        void filled(int block, long offset, long bytes);

        @Override
        void close();
    }

    private final class HostWindow implements Window {
        @Override
        public ByteBuffer read(int block, long offset, long bytes) {
            return pool.block(block).asSlice(offset, bytes).asByteBuffer();
        }

        @Override
        public ByteBuffer fill(int block, long offset, long bytes) {
            return read(block, offset, bytes);
        }

        @Override
        public void filled(int block, long offset, long bytes) {
            // it is there already
        }

        @Override
        public void close() {
            // nothing was taken
        }
    }

    private static final class DeviceWindow implements Window {
        private final DeviceBlocks device;
        private DeviceBlocks.@Nullable Staging staging; // only a connection that carries blocks needs it

        DeviceWindow(DeviceBlocks device) {
            this.device = device;
        }

        private DeviceBlocks.Staging staging() {
            if (staging == null) {
                staging = device.newStaging();
            }
            return staging;
        }

        @Override
        public ByteBuffer read(int block, long offset, long bytes) {
            staging().read(block, offset, bytes);
            return fill(block, offset, bytes);
        }

        @Override
        public ByteBuffer fill(int block, long offset, long bytes) {
            return staging().segment().asSlice(offset, bytes).asByteBuffer();
        }

        @Override
        public void filled(int block, long offset, long bytes) {
            staging().write(block, offset, bytes);
        }

        @Override
        public void close() {
            if (staging != null) {
                staging.close();
                staging = null;
            }
        }
    }
}
