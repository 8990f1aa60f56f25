package dev.baton.tensor.cuda;

import static dev.baton.tensor.cuda.owned.Kernel.Parameter.INT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.LONG;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Nvrtc;
import dev.baton.tensor.cuda.owned.Communicator;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.tensor.cuda.owned.DeviceMemory;
import dev.baton.tensor.cuda.owned.Event;
import dev.baton.tensor.cuda.owned.Kernel;
import dev.baton.tensor.cuda.owned.KernelModule;
import dev.baton.tensor.cuda.owned.PinnedMemory;
import dev.baton.tensor.cuda.owned.SharedMemory;
import dev.baton.tensor.cuda.owned.Stream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Moves blocks of a pool in an NVIDIA GPU's memory: to and from pinned host memory, from the pool of another
/// process through CUDA IPC, which is NVLink between two devices that have it, and to and from other processes over
/// NCCL. One thread, `baton-kv-cuda`, makes all calls, for one caller after the other, and has two streams, one for
/// copies and one for checksums. A [Link] alone has a stream of its own and works on its caller's thread, as it
/// waits for others.
public final class CudaBlocks implements DeviceBlocks {
    private static final Logger LOG = LoggerFactory.getLogger(CudaBlocks.class);
    private static final String FILE = "checksum.cu";
    private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
    private static final int SUM_THREADS = 256;
    /// Thread blocks a multiprocessor: enough for the memory, and room for the kernels of a step beside them.
    private static final int SUM_GRIDS = 2;
    private static final long SETTLE_POLL_NANOS = 100_000;
    /// What is summed up while others are copied: enough that the last of them takes little, and few launches.
    private static final int MAX_GROUPS = 8;
    /// Of parts of blocks, which are few bytes, what makes a group.
    private static final long GROUP_BYTES = 32 << 20;

    private final Context context;
    private final PagedKv pool;
    private final Map<String, String> environment;
    private final ExecutorService thread;
    private final List<AutoCloseable> owned = new ArrayList<>();
    private final Stream stream;
    private final Stream sums;
    private final List<Event> groupsCopied; // (MAX_GROUPS)
    private final Kernel blockSums;
    private final MemorySegment host; // sums (blocks), seeds (blocks), then ids (blocks)
    private final long device; // the same there
    private final Offer offer;

    private CudaBlocks(Context context, PagedKv pool, Map<String, String> environment, ExecutorService thread) {
        this.context = context;
        this.pool = pool;
        this.environment = environment;
        this.thread = thread;
        context.makeCurrent();
        try {
            this.stream = keep(new Stream(context));
            this.sums = keep(new Stream(context));
            this.groupsCopied = IntStream.range(0, MAX_GROUPS)
                    .mapToObj(_ -> keep(new Event(context)))
                    .toList();
            KernelModule module =
                    keep(new KernelCompiler(context, new Nvrtc(environment), KernelCache.ofUser(environment))
                            .load(List.of(FILE), Map.of())
                            .values()
                            .iterator()
                            .next());
            this.blockSums = module.kernel(
                    "block_sums",
                    new Kernel.Shape(SUM_THREADS, 0, false),
                    List.of(LONG, LONG, LONG, LONG, INT, LONG, LONG));
            long bytes = idsOffset() + (long) pool.numBlocks() * Integer.BYTES;
            this.host = keep(new PinnedMemory(context, bytes)).segment();
            this.device = keep(new DeviceMemory(context)).allocate(bytes, "the checksums of blocks");
            this.offer = exported();
        } catch (RuntimeException | Error e) {
            closeOwned();
            throw e;
        }
    }

    /// Opens the way to a pool.
    ///
    /// @param context of the pool's device
    /// @param environment where libraries and the user's cache are looked up
    public static CudaBlocks open(Context context, PagedKv pool, Map<String, String> environment) {
        ExecutorService thread = Executors.newSingleThreadExecutor(
                Thread.ofPlatform().daemon().name("baton-kv-cuda").factory());
        try {
            return on(thread, () -> new CudaBlocks(context, pool, environment, thread));
        } catch (RuntimeException | Error e) {
            thread.close();
            throw e;
        }
    }

    private <T extends AutoCloseable> T keep(T resource) {
        owned.add(resource);
        return resource;
    }

    private Offer exported() {
        try {
            return new Offer(
                    Files.readString(BOOT_ID).strip(),
                    SharedMemory.deviceId(context, environment),
                    SharedMemory.handle(context, environment, pool.deviceAddress()),
                    pool.numBlocks());
        } catch (IOException | TensorException e) {
            LOG.info("The KV cache is not offered to other processes of this host: {}", e.getMessage());
            return Offer.NONE;
        }
    }

    /// Runs work on the thread and waits for it, whatever interrupts: it may be writing into the pool.
    private static <T> T on(ExecutorService thread, Supplier<T> work) {
        try {
            return CompletableFuture.supplyAsync(work, thread).join();
        } catch (RejectedExecutionException e) {
            throw closed(e);
        } catch (CompletionException e) {
            if (e.getCause() instanceof TensorException cause) {
                throw new TensorException(String.valueOf(cause.getMessage()), e);
            }
            throw e;
        }
    }

    private void run(Runnable work) {
        boolean _ = on(thread, () -> {
            work.run();
            return true;
        });
    }

    private long seedsOffset() {
        return (long) pool.numBlocks() * Long.BYTES;
    }

    private long idsOffset() {
        return 2 * seedsOffset();
    }

    private static void checkIds(int[] blocks, int numBlocks) {
        for (int block : blocks) {
            if (block < 0 || block >= numBlocks) {
                throw new TensorException("block " + block + " is not in a pool of " + numBlocks);
            }
        }
    }

    private long address(int block) {
        return pool.deviceAddress() + pool.blockOffsetBytes(block);
    }

    @Override
    public int ordinal() {
        return context.device();
    }

    @Override
    public void makeCurrent() {
        context.makeCurrent();
    }

    @Override
    public void settle() {
        context.makeCurrent();
        context.synchronize();
    }

    @Override
    public Staging newStaging() {
        return on(thread, PinnedStaging::new);
    }

    @Override
    public long[] sums(int[] blocks, long[] seeds) {
        checkIds(blocks, pool.numBlocks());
        return sums(pool.deviceAddress(), blocks, seeds);
    }

    /// @param memory where block 0 begins
    private long[] sums(long memory, int[] blocks, long[] seeds) {
        int count = blocks.length;
        if (count > pool.numBlocks() || seeds.length != count) {
            throw new TensorException("checksums of " + count + " blocks with " + seeds.length + " seeds, in a pool of "
                    + pool.numBlocks());
        }
        return on(thread, () -> {
            giveSeeds(blocks, seeds);
            sum(memory, 0, count, pool.blockBytes());
            return takeSums(count);
        });
    }

    private void giveSeeds(int[] blocks, long[] seeds) {
        long sumBytes = (long) seeds.length * Long.BYTES;
        long idBytes = (long) blocks.length * Integer.BYTES;
        MemorySegment.copy(seeds, 0, host, ValueLayout.JAVA_LONG, seedsOffset(), seeds.length);
        MemorySegment.copy(blocks, 0, host, ValueLayout.JAVA_INT, idsOffset(), blocks.length);
        sums.fill(device, (byte) 0, sumBytes);
        sums.copyToDevice(device + seedsOffset(), host.asSlice(seedsOffset(), sumBytes), sumBytes);
        sums.copyToDevice(device + idsOffset(), host.asSlice(idsOffset(), idBytes), idBytes);
    }

    /// Sums up some of the blocks that were named by [#giveSeeds].
    ///
    /// @param memory where block 0 begins, or the part of it that is wanted
    /// @param bytes of each block
    private void sum(long memory, int from, int to, long bytes) {
        blockSums
                .begin()
                .add(memory)
                .add(device + idsOffset() + (long) from * Integer.BYTES)
                .add(device + seedsOffset() + (long) from * Long.BYTES)
                .add(device + (long) from * Long.BYTES)
                .add(to - from)
                .add(bytes)
                .add(pool.blockBytes())
                .launch(sums, SUM_GRIDS * context.info().multiprocessors(), 1, 1);
    }

    private long[] takeSums(int count) {
        long sumBytes = (long) count * Long.BYTES;
        sums.copyToHost(host, device, sumBytes);
        sums.synchronize();
        return host.asSlice(0, sumBytes).toArray(ValueLayout.JAVA_LONG);
    }

    @Override
    public Offer offer() {
        return offer;
    }

    @Override
    public PeerPool open(Offer peer) {
        return on(thread, () -> new SharedPool(peer));
    }

    /// Copies blocks into the pool.
    ///
    /// @param memory where block 0 of `theirs` begins
    private void copy(long memory, int[] theirs, int[] ours) {
        run(() -> {
            copy(memory, theirs, ours, 0, ours.length);
            stream.synchronize();
        });
    }

    /// Gives copies to the stream, of adjacent blocks at once.
    private void copy(long memory, int[] theirs, int[] ours, int begin, int end) {
        int from = begin;
        while (from < end) {
            int to = from + 1;
            while (to < end && theirs[to] == theirs[to - 1] + 1 && ours[to] == ours[to - 1] + 1) {
                to++;
            }
            long source = memory + pool.blockOffsetBytes(theirs[from]);
            stream.copyOnDevice(address(ours[from]), source, (to - from) * pool.blockBytes());
            from = to;
        }
    }

    /// Gives copies of the same part of each block to the stream.
    ///
    /// @param memory where the part of block 0 of `theirs` begins
    private void copyParts(long memory, int[] theirs, int[] ours, int begin, int end, long offset, long bytes) {
        for (int i = begin; i < end; i++) {
            stream.copyOnDevice(address(ours[i]) + offset, memory + pool.blockOffsetBytes(theirs[i]), bytes);
        }
    }

    /// Copies some blocks of those asked for; both are indexes among them.
    @FunctionalInterface
    private interface Copies {
        void give(int from, int to);
    }

    /// Copies blocks, or parts of them, into the pool, and sums up each group of them while the next one is copied.
    /// On the thread.
    ///
    /// @param seeds those of the parts
    /// @param groups at most [#MAX_GROUPS]
    private long[] copyAndSum(Copies copies, int[] ours, long[] seeds, long offset, long bytes, int groups) {
        int count = ours.length;
        int group = Math.max(1, Math.ceilDiv(count, groups));
        try {
            giveSeeds(ours, seeds);
            for (int from = 0; from < count; from += group) {
                int to = Math.min(count, from + group);
                copies.give(from, to);
                Event copied = groupsCopied.get(from / group);
                copied.record(stream);
                sums.await(copied);
                sum(pool.deviceAddress() + offset, from, to, bytes);
            }
            return takeSums(count); // which wait for all copies
        } catch (RuntimeException | Error e) {
            // The blocks may be given away after this: nothing may write into them.
            settle(stream, e);
            settle(sums, e);
            throw e;
        }
    }

    private void checkCount(int count, long[] seeds) {
        if (count > pool.numBlocks() || seeds.length != count) {
            throw new TensorException("copies of " + count + " blocks with " + seeds.length + " seeds");
        }
    }

    private static TensorException closed(RejectedExecutionException cause) {
        return new TensorException("the way to the device's KV cache was closed", cause);
    }

    private static void settle(Stream under, Throwable cause) {
        try {
            under.synchronize();
        } catch (TensorException e) {
            cause.addSuppressed(e);
        }
    }

    @Override
    public Optional<String> linkObstacle() {
        return Communicator.missing(environment);
    }

    @Override
    public byte[] newLinkId() {
        return Communicator.uniqueId(environment);
    }

    @Override
    public Link link(byte[] id, boolean isFirst, Duration connecting, Duration patience) {
        return new NcclLink(id, isFirst ? 0 : 1, connecting, patience);
    }

    @Override
    public Buffer newBuffer(int numBlocks) {
        return on(thread, () -> new DeviceBuffer(numBlocks));
    }

    @Override
    public void close() {
        run(this::closeOwned);
        thread.close();
    }

    private void closeOwned() {
        for (AutoCloseable resource : owned.reversed()) {
            try {
                resource.close();
            } catch (Exception e) {
                LOG.warn("a resource of the GPU could not be closed", e);
            }
        }
        owned.clear();
    }

    /// Pinned memory of one block.
    private final class PinnedStaging implements Staging {
        private final PinnedMemory memory = new PinnedMemory(context, pool.blockBytes());

        @Override
        public MemorySegment segment() {
            return memory.segment();
        }

        @Override
        public void read(int block, long offset, long bytes) {
            run(() -> {
                stream.copyToHost(memory.segment().asSlice(offset, bytes), address(block) + offset, bytes);
                stream.synchronize();
            });
        }

        @Override
        public void write(int block, long offset, long bytes) {
            run(() -> {
                stream.copyToDevice(address(block) + offset, memory.segment().asSlice(offset, bytes), bytes);
                stream.synchronize();
            });
        }

        @Override
        public void close() {
            run(memory::close);
        }
    }

    /// Two ranks of NCCL, each in a process.
    private final class NcclLink implements Link {
        private final Communicator communicator;
        private final Stream own;
        private final int peer;
        private final Duration patience;

        NcclLink(byte[] id, int rank, Duration connecting, Duration patience) {
            context.makeCurrent();
            this.peer = 1 - rank;
            this.patience = patience;
            this.communicator = Communicator.join(environment, id, rank, 2, connecting, patience);
            this.own = new Stream(context);
        }

        @Override
        public void send(int[] blocks) {
            checkIds(blocks, pool.numBlocks());
            exchange(() -> {
                for (int block : blocks) {
                    communicator.send(own, address(block), pool.blockBytes(), peer);
                }
            });
        }

        @Override
        public void receive(int[] blocks) {
            checkIds(blocks, pool.numBlocks());
            exchange(() -> {
                for (int block : blocks) {
                    communicator.receive(own, address(block), pool.blockBytes(), peer);
                }
            });
        }

        @Override
        public void receive(Buffer buffer) {
            if (!(buffer instanceof DeviceBuffer memory)) {
                throw new TensorException("a buffer of another device");
            }
            exchange(() -> {
                for (int i = 0; i < memory.numBlocks; i++) {
                    long to = memory.address + pool.blockOffsetBytes(i);
                    communicator.receive(own, to, pool.blockBytes(), peer);
                }
            });
        }

        private void exchange(Runnable calls) {
            context.makeCurrent();
            communicator.group(calls);
            communicator.await(own);
        }

        @Override
        public void abort() {
            communicator.abort();
        }

        /// Waits for what the stream was given, which may read or write the pool. An end of the communicator makes
        /// it end soon; should it not, whoever closes this does not wait for ever.
        private void settle() {
            long deadline = System.nanoTime() + patience.toNanos();
            try {
                while (!own.isDone()) {
                    if (System.nanoTime() - deadline > 0) {
                        LOG.warn("what a connection of two GPUs was doing did not end in {} s", patience.toSeconds());
                        return;
                    }
                    LockSupport.parkNanos(SETTLE_POLL_NANOS);
                }
            } catch (TensorException e) {
                LOG.warn("what a connection of two GPUs was doing failed as it was closed", e);
            }
        }

        @Override
        public void close() {
            context.makeCurrent();
            communicator.close();
            settle();
            own.close();
        }
    }

    /// Memory beside the pool.
    private final class DeviceBuffer implements Buffer {
        private final DeviceMemory memory = new DeviceMemory(context);
        private final int numBlocks;
        private final long address;

        DeviceBuffer(int numBlocks) {
            this.numBlocks = numBlocks;
            this.address = memory.allocate(numBlocks * pool.blockBytes(), "blocks that have come before their request");
        }

        @Override
        public int numBlocks() {
            return numBlocks;
        }

        @Override
        public long[] sums(long[] seeds) {
            return CudaBlocks.this.sums(address, IntStream.range(0, numBlocks).toArray(), seeds);
        }

        @Override
        public void place(int first, int[] blocks) {
            int[] here = IntStream.range(first, first + blocks.length).toArray();
            checkIds(here, numBlocks);
            checkIds(blocks, pool.numBlocks());
            copy(address, here, blocks);
        }

        @Override
        public void close() {
            run(memory::close);
        }
    }

    /// A pool that another process has opened to this one.
    private final class SharedPool implements PeerPool {
        private final SharedMemory memory;
        private final int numBlocks;

        SharedPool(Offer peer) {
            this.memory = SharedMemory.open(context, environment, peer.handle());
            this.numBlocks = peer.numBlocks();
        }

        @Override
        public long[] pull(int[] theirs, int[] ours, long[] seeds) {
            checkIds(theirs, numBlocks);
            checkIds(ours, pool.numBlocks());
            checkCount(ours.length, seeds);
            Copies copies = (from, to) -> copy(memory.address(), theirs, ours, from, to);
            return on(thread, () -> copyAndSum(copies, ours, seeds, 0, pool.blockBytes(), MAX_GROUPS));
        }

        @Override
        public CompletableFuture<long[]> pull(int[] theirs, int[] ours, long[] seeds, long offset, long bytes) {
            checkIds(theirs, numBlocks);
            checkIds(ours, pool.numBlocks());
            checkCount(ours.length, seeds);
            if (((offset | bytes) & 15) != 0 || offset < 0 || bytes <= 0 || offset + bytes > pool.blockBytes()) {
                throw new TensorException(
                        "%d bytes at %d are no part of a block of %d".formatted(bytes, offset, pool.blockBytes()));
            }
            long[] partSeeds = Arrays.stream(seeds)
                    .map(seed -> DeviceChecksum.partSeed(seed, offset))
                    .toArray();
            int groups = Math.clamp(ours.length * bytes / GROUP_BYTES, 1, MAX_GROUPS);
            Copies copies = (from, to) -> {
                if (bytes == pool.blockBytes()) { // adjacent ones at once
                    copy(memory.address(), theirs, ours, from, to);
                } else {
                    copyParts(memory.address() + offset, theirs, ours, from, to, offset, bytes);
                }
            };
            try {
                return CompletableFuture.supplyAsync(
                        () -> copyAndSum(copies, ours, partSeeds, offset, bytes, groups), thread);
            } catch (RejectedExecutionException e) {
                throw closed(e);
            }
        }

        @Override
        public void close() {
            run(memory::close);
        }
    }
}
