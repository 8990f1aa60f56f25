package dev.baton.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.LongUnaryOperator;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The memory of a paged KV cache: one pool of equally large blocks, off-heap or in a device's memory.
///
/// Layout of the pool: `(blocks, layers, 2, kvHeads, blockTokens, headDim)`, keys before values. All layers of
/// a block lie side by side, so that a block is one contiguous piece for a transfer, and the tokens of one head
/// lie side by side, so that attention streams them.
///
/// The engine closes it; model and transfer read and write through [#segment()], or, if the pool is in a device's
/// memory, that device alone through [#deviceAddress()]. Concurrent access to different blocks is safe; that nobody
/// touches a block that is not theirs is the business of the KV cache manager.
public final class PagedKv implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(PagedKv.class);

    private final int numBlocks;
    private final int layers;
    private final int kvHeads;
    private final int blockTokens;
    private final int headDim;
    private final DType dtype;
    private final long headBytes;
    private final long sideBytes;
    private final long layerBytes;
    private final long blockBytes;
    private final Runnable release;
    private final Function<PagedKv, DeviceBlocks> ways;
    private final Optional<MemoryFile> file;
    private final MemorySegment segment; // (blocks, layers, 2, kvHeads, blockTokens, headDim); NULL on a device
    private final long deviceAddress; // the same there; 0 in host memory

    /// Allocates a zeroed pool in host memory.
    ///
    /// @throws OutOfMemoryError if the memory is not there
    public PagedKv(int numBlocks, int layers, int kvHeads, int blockTokens, int headDim, DType dtype) {
        this(numBlocks, layers, kvHeads, blockTokens, headDim, dtype, _ -> 0, () -> {}, PagedKv::noWay, false);
    }

    /// Allocates a zeroed pool in host memory that other processes of this host can map; where the operating
    /// system has no such memory, one that they cannot.
    ///
    /// @throws OutOfMemoryError if the memory is not there
    public static PagedKv shared(int numBlocks, int layers, int kvHeads, int blockTokens, int headDim, DType dtype) {
        return new PagedKv(
                numBlocks, layers, kvHeads, blockTokens, headDim, dtype, _ -> 0, () -> {}, PagedKv::noWay, true);
    }

    private static Optional<MemoryFile> file(long bytes) {
        try {
            return Optional.of(MemoryFile.create(bytes));
        } catch (TensorException e) {
            LOG.info("Other processes of this host cannot map the KV cache: {}", e.getMessage());
            return Optional.empty();
        }
    }

    /// A pool in a device's memory.
    ///
    /// @param allocate takes the bytes that it needs from the device and gives back their address, not 0
    /// @param release gives them back
    /// @param ways opens the way of blocks into and out of the pool
    public static PagedKv onDevice(
            int numBlocks,
            int layers,
            int kvHeads,
            int blockTokens,
            int headDim,
            DType dtype,
            LongUnaryOperator allocate,
            Runnable release,
            Function<PagedKv, DeviceBlocks> ways) {
        return new PagedKv(numBlocks, layers, kvHeads, blockTokens, headDim, dtype, allocate, release, ways, false);
    }

    /// A pool in a device's memory whose blocks stay there.
    public static PagedKv onDevice(
            int numBlocks,
            int layers,
            int kvHeads,
            int blockTokens,
            int headDim,
            DType dtype,
            LongUnaryOperator allocate,
            Runnable release) {
        return onDevice(numBlocks, layers, kvHeads, blockTokens, headDim, dtype, allocate, release, PagedKv::noWay);
    }

    private static DeviceBlocks noWay(PagedKv pool) {
        throw new TensorException(
                pool.isOnDevice()
                        ? "this pool's blocks stay on their device"
                        : "the KV cache is in host memory, not on a device");
    }

    private PagedKv(
            int numBlocks,
            int layers,
            int kvHeads,
            int blockTokens,
            int headDim,
            DType dtype,
            LongUnaryOperator allocate,
            Runnable release,
            Function<PagedKv, DeviceBlocks> ways,
            boolean isShared) {
        this.ways = ways;
        this.numBlocks = numBlocks;
        this.layers = layers;
        this.kvHeads = kvHeads;
        this.blockTokens = blockTokens;
        this.headDim = headDim;
        this.dtype = dtype;
        this.headBytes = (long) blockTokens * headDim * dtype.bytes();
        this.sideBytes = headBytes * kvHeads;
        this.layerBytes = sideBytes * 2;
        this.blockBytes = layerBytes * layers;
        this.deviceAddress = allocate.applyAsLong(blockBytes * numBlocks);
        this.file = isShared ? file(blockBytes * numBlocks) : Optional.empty();
        if (deviceAddress != 0) {
            this.segment = MemorySegment.NULL;
            this.release = release;
            return;
        }
        if (file.isPresent()) {
            this.segment = file.get().segment();
            this.release = file.get()::close;
        } else {
            Arena arena = Arena.ofShared();
            this.segment = OffHeap.allocate(arena, blockBytes * numBlocks);
            this.release = arena::close;
        }
        // Now rather than page by page in the middle of some step.
        segment.fill((byte) 0);
    }

    /// Whether the pool is in a device's memory, where the host cannot read it.
    public boolean isOnDevice() {
        return deviceAddress != 0;
    }

    /// What other processes of this host can map the pool by; empty unless it was made for that.
    public Optional<String> fileHandle() {
        return file.map(MemoryFile::handle);
    }

    /// Where the pool begins in the device's memory.
    ///
    /// @throws TensorException if it is in host memory
    public long deviceAddress() {
        if (deviceAddress == 0) {
            throw new TensorException("the KV cache is in host memory, not on a device");
        }
        return deviceAddress;
    }

    /// Opens a way of blocks into and out of the pool's device, with a thread of its own; the caller closes it
    /// before the pool.
    ///
    /// @throws TensorException if the pool is in host memory, or the device cannot
    public DeviceBlocks openDeviceBlocks() {
        return ways.apply(this);
    }

    /// The whole pool.
    ///
    /// @throws TensorException if it is in a device's memory
    public MemorySegment segment() {
        if (deviceAddress != 0) {
            throw new TensorException("the KV cache is in a device's memory, which the host cannot read");
        }
        return segment;
    }

    /// One block of the pool: all layers, keys and values.
    ///
    /// @throws TensorException if the pool is in a device's memory
    public MemorySegment block(int block) {
        return segment().asSlice(blockOffsetBytes(block), blockBytes);
    }

    public long blockOffsetBytes(int block) {
        return block * blockBytes;
    }

    /// Where the keys of one head in one block begin: `(blockTokens, headDim)` follow.
    public long keyOffsetBytes(int block, int layer, int kvHead) {
        return block * blockBytes + layer * layerBytes + kvHead * headBytes;
    }

    /// Where the values of one head in one block begin: `(blockTokens, headDim)` follow.
    public long valueOffsetBytes(int block, int layer, int kvHead) {
        return keyOffsetBytes(block, layer, kvHead) + sideBytes;
    }

    public int numBlocks() {
        return numBlocks;
    }

    public int layers() {
        return layers;
    }

    public int kvHeads() {
        return kvHeads;
    }

    public int blockTokens() {
        return blockTokens;
    }

    public int headDim() {
        return headDim;
    }

    public DType dtype() {
        return dtype;
    }

    /// Bytes of one token's key, or value, of one head.
    public long headTokenBytes() {
        return (long) headDim * dtype.bytes();
    }

    public long blockBytes() {
        return blockBytes;
    }

    /// Gives the memory back. Every later access throws.
    @Override
    public void close() {
        release.run();
    }
}
