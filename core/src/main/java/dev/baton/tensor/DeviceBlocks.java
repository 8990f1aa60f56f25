package dev.baton.tensor;

import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/// The way of blocks into and out of a pool in a device's memory, beside the thread and stream of the model:
/// over host memory, or straight between the pools of two processes of one host.
///
/// What is read was written by a step that has ended, or by layers that the model has waited for in one that runs,
/// and a call here returns only when the device has done all of it, so that a step that begins afterwards sees what
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

    /// Waits until the device has done all that it was given in this process, by whomever.
    ///
    /// @throws TensorException if the device failed
    void settle();

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
        /// Copies blocks from there into this pool, and sums them up as they come.
        ///
        /// @param theirs blocks there
        /// @param ours for each of them, the block to fill
        /// @param seeds one for each block
        /// @return the checksums of what is in this pool then, as [DeviceBlocks#sums]
        /// @throws TensorException if one of them is not in its pool, or the device failed
        long[] pull(int[] theirs, int[] ours, long[] seeds);

        /// Copies the same part of each of some blocks from there into this pool, and sums it up, while the caller
        /// goes on. Parts follow each other in the order in which they were asked for.
        ///
        /// @param seeds one for each block, by which the checksum of the whole block begins
        /// @param offset where the part begins in a block, a multiple of 16
        /// @param bytes how long it is, a multiple of 16
        /// @return the checksums of the parts, which add up to those of the blocks: [DeviceChecksum#partSeed].
        ///     Nothing writes into the parts any more when it is done, in whatever way
        /// @throws TensorException if one of them is not in its pool
        CompletableFuture<long[]> pull(int[] theirs, int[] ours, long[] seeds, long offset, long bytes);

        @Override
        void close();
    }

    /// A connection to the device of another process, on which the device itself sends and receives. What one side
    /// sends the other has to receive, in the same pieces. Used from one thread at a time, but for [#abort].
    interface Link extends AutoCloseable {
        /// Sends blocks of the pool; returns when they have left.
        ///
        /// @throws TensorException if the other side has not taken them in time: the link has ended then
        void send(int[] blocks);

        /// Receives blocks into the pool.
        ///
        /// @throws TensorException if they have not come in time: the link has ended then
        void receive(int[] blocks);

        /// Receives as many blocks as a buffer has.
        ///
        /// @throws TensorException if they have not come in time: the link has ended then
        void receive(Buffer buffer);

        /// Makes what is under way fail soon; from any thread.
        void abort();

        @Override
        void close();
    }

    /// Memory of the device for blocks that have no place in the pool yet. Used from one thread at a time.
    interface Buffer extends AutoCloseable {
        int numBlocks();

        /// The checksums of its blocks, as [DeviceBlocks#sums].
        long[] sums(long[] seeds);

        /// Copies blocks into the pool.
        ///
        /// @param first the first block of the buffer that is wanted
        /// @param blocks where it and those behind it go
        void place(int first, int[] blocks);

        @Override
        void close();
    }

    /// Why there can be no [Link]s and [Buffer]s, in a sentence; empty if nothing is in the way.
    default Optional<String> linkObstacle() {
        return Optional.of("this device makes no connections to others");
    }

    /// Makes what the two ends of a [Link] find each other by.
    ///
    /// @throws TensorException if the device cannot, in a sentence
    default byte[] newLinkId() {
        throw new TensorException("this device makes no connections to others");
    }

    /// Connects to another process that does the same with the same id.
    ///
    /// @param isFirst whether this end is the one that made the id
    /// @param connecting how long the other one may take to come
    /// @param patience how long it may take for its part of anything later
    /// @throws TensorException if it has not come, or the device cannot
    default Link link(byte[] id, boolean isFirst, Duration connecting, Duration patience) {
        throw new TensorException("this device makes no connections to others");
    }

    /// Takes memory of the device; the caller closes it.
    ///
    /// @throws TensorException if there is none left
    default Buffer newBuffer(int numBlocks) {
        throw new TensorException("this device gives no memory for " + numBlocks + " blocks");
    }

    /// Which of the devices that this process sees it is, as libraries of the device's vendor count them.
    int ordinal();

    /// Makes the device the calling thread's, for a library that reaches the pool's memory by its address.
    void makeCurrent();

    /// Makes a staging buffer; the caller closes it.
    Staging newStaging();

    /// The checksums of blocks, as [DeviceChecksum#of] says, computed on the device.
    ///
    /// @param blocks at most as many as the pool has
    /// @param seeds one for each block
    long[] sums(int[] blocks, long[] seeds);

    /// How other processes can reach this pool.
    Offer offer();

    /// Whether parts of blocks can be pulled while others are computed.
    default boolean pullsParts() {
        return true;
    }

    /// Opens the pool of another process, whose offer names this host.
    ///
    /// @throws TensorException if the driver cannot
    PeerPool open(Offer peer);

    @Override
    void close();
}
