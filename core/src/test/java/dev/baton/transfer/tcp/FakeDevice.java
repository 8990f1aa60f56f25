package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/// A pool that says it is on a device, with the device's memory in this process, where any other such pool of
/// the process can reach it by its handle.
public final class FakeDevice implements DeviceBlocks {
    private static final Map<String, FakeDevice> BY_HANDLE = new ConcurrentHashMap<>();
    private static final AtomicInteger HANDLES = new AtomicInteger();

    public final MemorySegment memory;
    final AtomicInteger opened = new AtomicInteger();
    final AtomicInteger pulls = new AtomicInteger();
    final AtomicInteger writes = new AtomicInteger();
    public final AtomicInteger stagings = new AtomicInteger();
    public final AtomicInteger flips = new AtomicInteger();
    public final AtomicInteger links = new AtomicInteger();
    /// Ways into the pool that are open.
    public final AtomicInteger ways = new AtomicInteger();
    public final AtomicInteger buffers = new AtomicInteger();
    /// Parts of blocks that were asked for.
    final Queue<Part> parts = new ConcurrentLinkedQueue<>();

    /// How often somebody waited for all that the device had to do.
    public final AtomicInteger settled = new AtomicInteger();
    /// How often a thread made this device its own.
    public final AtomicInteger currents = new AtomicInteger();
    volatile Runnable beforePull = () -> {};
    volatile Runnable beforeSums = () -> {};
    volatile Runnable afterSums = () -> {};
    private final ExecutorService copier = Executors.newSingleThreadExecutor(
            Thread.ofPlatform().daemon().name("baton-kv-fake").factory());
    private final Arena arena = Arena.ofShared();
    private final PagedKv pool;
    private final Offer offer;

    record Part(int blocks, long offset, long bytes) {}

    public FakeDevice(KvCacheSpec spec, String host) {
        this(spec, host, MemorySegment.NULL);
    }

    /// @param given memory that the host has too; of no bytes if it is to be the device's own
    public FakeDevice(KvCacheSpec spec, String host, MemorySegment given) {
        memory = given.byteSize() == 0 ? arena.allocate(spec.blockBytes() * spec.numBlocks(), 16) : given;
        pool = PagedKv.onDevice(
                spec.numBlocks(),
                spec.layers(),
                spec.kvHeads(),
                spec.blockTokens(),
                spec.headDim(),
                DType.F32,
                _ -> memory.address(),
                arena::close,
                _ -> {
                    ways.incrementAndGet();
                    return this;
                });
        offer = new Offer(host, "gpu", "handle-" + HANDLES.incrementAndGet(), spec.numBlocks());
        BY_HANDLE.put(offer.handle(), this);
    }

    public PagedKv pool() {
        return pool;
    }

    public MemorySegment block(int block) {
        return memory.asSlice(pool.blockOffsetBytes(block), pool.blockBytes());
    }

    /// As if the other process had gone before the pool was opened.
    void forgetHandle() {
        BY_HANDLE.remove(offer.handle());
    }

    @Override
    public int ordinal() {
        return 0;
    }

    @Override
    public void makeCurrent() {
        currents.incrementAndGet();
    }

    @Override
    public void settle() {
        settled.incrementAndGet();
    }

    @Override
    public Staging newStaging() {
        stagings.incrementAndGet();
        Arena own = Arena.ofShared();
        MemorySegment segment = own.allocate(pool.blockBytes());
        return new Staging() {
            @Override
            public MemorySegment segment() {
                return segment;
            }

            @Override
            public void read(int block, long offset, long bytes) {
                MemorySegment.copy(block(block), offset, segment, offset, bytes);
            }

            @Override
            public void write(int block, long offset, long bytes) {
                writes.incrementAndGet();
                MemorySegment.copy(segment, offset, block(block), offset, bytes);
            }

            private MemorySegment block(int block) {
                return FakeDevice.this.block(block);
            }

            @Override
            public void close() {
                stagings.decrementAndGet();
                own.close();
            }
        };
    }

    @Override
    public long[] sums(int[] blocks, long[] seeds) {
        beforeSums.run();
        long[] sums = new long[blocks.length];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = DeviceChecksum.of(block(blocks[i]), seeds[i]);
        }
        afterSums.run();
        return sums;
    }

    @Override
    public Offer offer() {
        return offer;
    }

    @Override
    public PeerPool open(Offer peer) {
        FakeDevice other = BY_HANDLE.get(peer.handle());
        if (other == null) {
            throw new TensorException("invalid handle");
        }
        opened.incrementAndGet();
        return new PeerPool() {
            @Override
            public long[] pull(int[] theirs, int[] ours, long[] seeds) {
                beforePull.run();
                pulls.incrementAndGet();
                for (int i = 0; i < ours.length; i++) {
                    block(ours[i]).copyFrom(other.block(theirs[i]));
                }
                if (flips.get() > 0) {
                    flips.decrementAndGet();
                    MemorySegment last = block(ours[ours.length - 1]);
                    last.set(ValueLayout.JAVA_BYTE, 77, (byte) (last.get(ValueLayout.JAVA_BYTE, 77) ^ 1));
                }
                return sums(ours, seeds);
            }

            @Override
            public CompletableFuture<long[]> pull(int[] theirs, int[] ours, long[] seeds, long offset, long bytes) {
                parts.add(new Part(ours.length, offset, bytes));
                return CompletableFuture.supplyAsync(() -> copy(theirs, ours, seeds, offset, bytes), copier);
            }

            private long[] copy(int[] theirs, int[] ours, long[] seeds, long offset, long bytes) {
                beforePull.run();
                long[] sums = new long[ours.length];
                for (int i = 0; i < ours.length; i++) {
                    MemorySegment part = block(ours[i]).asSlice(offset, bytes);
                    part.copyFrom(other.block(theirs[i]).asSlice(offset, bytes));
                    if (i == ours.length - 1 && flips.get() > 0) {
                        flips.decrementAndGet();
                        part.set(ValueLayout.JAVA_BYTE, 77, (byte) (part.get(ValueLayout.JAVA_BYTE, 77) ^ 1));
                    }
                    sums[i] = DeviceChecksum.of(part, DeviceChecksum.partSeed(seeds[i], offset));
                }
                pulls.incrementAndGet();
                return sums;
            }

            @Override
            public void close() {
                opened.decrementAndGet();
            }
        };
    }

    @Override
    public Optional<String> linkObstacle() {
        return Optional.empty();
    }

    @Override
    public byte[] newLinkId() {
        return FakeLink.newId();
    }

    @Override
    public Link link(byte[] id, boolean isFirst, Duration connecting, Duration patience) {
        return new FakeLink(id, isFirst, connecting, patience, this::block, flips, links);
    }

    @Override
    public Buffer newBuffer(int numBlocks) {
        return new FakeBuffer(numBlocks);
    }

    /// Memory beside the pool.
    final class FakeBuffer implements Buffer {
        private final Arena own = Arena.ofShared();
        private final int numBlocks;
        private final MemorySegment segment;

        FakeBuffer(int numBlocks) {
            this.numBlocks = numBlocks;
            this.segment = own.allocate(numBlocks * pool.blockBytes(), 16);
            buffers.incrementAndGet();
        }

        MemorySegment block(int index) {
            return segment.asSlice(index * pool.blockBytes(), pool.blockBytes());
        }

        @Override
        public int numBlocks() {
            return numBlocks;
        }

        @Override
        public long[] sums(long[] seeds) {
            long[] sums = new long[numBlocks];
            Arrays.setAll(sums, i -> DeviceChecksum.of(block(i), seeds[i]));
            return sums;
        }

        @Override
        public void place(int first, int[] blocks) {
            for (int i = 0; i < blocks.length; i++) {
                FakeDevice.this.block(blocks[i]).copyFrom(block(first + i));
            }
        }

        @Override
        public void close() {
            buffers.decrementAndGet();
            own.close();
        }
    }

    @Override
    public void close() {
        ways.decrementAndGet();
        copier.close();
        BY_HANDLE.remove(offer.handle());
    }
}
