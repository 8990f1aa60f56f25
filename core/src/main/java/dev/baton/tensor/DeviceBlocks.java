package dev.baton.tensor;

import java.lang.foreign.MemorySegment;

/// The way of blocks into and out of a pool in a device's memory, beside the thread and stream of the model:
/// over host memory, or straight between the pools of two processes of one host.
///
/// A block is read only after the step that wrote it has ended ([PagedKv]'s model waits for its steps), and a
/// call here returns only when the device has done all of it, so that a step that begins afterwards sees what
/// was written.
///
/// Thread-safe; calls wait for each other. To be closed before the pool.
public interface DeviceBlocks extends AutoCloseable {
    /// How another process can reach a pool.
    ///
    /// @param host the machine, and which of its starts: a handle of another one means nothing
    /// @param device the device's own id, for people
    /// @param handle what the driver of that host knows the pool's memory by; empty if it is not said
    /// @param numBlocks of the pool
    record Offer(String host, String device, String handle, int numBlocks) {
        /// Nobody can reach it.
        public static final Offer NONE = new Offer("", "", "", 0);

        /// Whether there is none.
        public boolean isNone() {
            return host.isEmpty();
        }

        /// Where the pool is, but not how to reach it.
        public Offer withoutHandle() {
            return new Offer(host, device, "", 0);
        }
    }

    /// Host memory for one block that the device copies to and from by itself. Used from one thread at a time.
    interface Staging extends AutoCloseable {
        /// The memory, as long as a block; not to be used after [#close].
        MemorySegment segment();

        /// Copies a part of a block of the pool here, to the same offset.
        void read(int block, long offset, long bytes);

        /// Copies a part of what is here into a block of the pool, to the same offset.
        void write(int block, long offset, long bytes);

        /// Copies a block of the pool here.
        default void read(int block) {
            read(block, 0, segment().byteSize());
        }

        /// Copies what is here into a block of the pool.
        default void write(int block) {
            write(block, 0, segment().byteSize());
        }

        @Override
        void close();
    }

    /// The pool of another process on this host, of blocks of the same shape. Thread-safe.
    interface PeerPool extends AutoCloseable {
        /// Copies blocks from there into this pool.
        ///
        /// @param theirs blocks there
        /// @param ours for each of them, the block to fill
        /// @throws TensorException if one of them is not in its pool, or the device failed
        void pull(int[] theirs, int[] ours);

        @Override
        void close();
    }

    /// Makes a staging buffer; the caller closes it.
    Staging newStaging();

    /// The checksums of blocks, as [DeviceChecksum#of] says, computed on the device.
    ///
    /// @param blocks at most as many as the pool has
    /// @param seeds one for each block
    long[] sums(int[] blocks, long[] seeds);

    /// How other processes can reach this pool.
    Offer offer();

    /// Opens the pool of another process, whose offer names this host.
    ///
    /// @throws TensorException if the driver cannot
    PeerPool open(Offer peer);

    @Override
    void close();
}
