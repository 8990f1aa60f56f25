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
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/// A pool that says it is on a device, with the device's memory in this process, where any other such pool of
/// the process can reach it by its handle.
final class FakeDevice implements DeviceBlocks {
    private static final Map<String, FakeDevice> BY_HANDLE = new ConcurrentHashMap<>();
    private static final AtomicInteger HANDLES = new AtomicInteger();

    final MemorySegment memory;
    final AtomicInteger opened = new AtomicInteger();
    final AtomicInteger pulls = new AtomicInteger();
    final AtomicInteger writes = new AtomicInteger();
    final AtomicInteger stagings = new AtomicInteger();
    final AtomicInteger flips = new AtomicInteger();
    volatile Runnable beforePull = () -> {};
    private final Arena arena = Arena.ofShared();
    private final PagedKv pool;
    private final Offer offer;

    FakeDevice(KvCacheSpec spec, String host) {
        memory = arena.allocate(spec.blockBytes() * spec.numBlocks(), 16);
        pool = PagedKv.onDevice(
                spec.numBlocks(),
                spec.layers(),
                spec.kvHeads(),
                spec.blockTokens(),
                spec.headDim(),
                DType.F32,
                _ -> memory.address(),
                arena::close,
                _ -> this);
        offer = new Offer(host, "gpu", "handle-" + HANDLES.incrementAndGet(), spec.numBlocks());
        BY_HANDLE.put(offer.handle(), this);
    }

    PagedKv pool() {
        return pool;
    }

    MemorySegment block(int block) {
        return memory.asSlice(pool.blockOffsetBytes(block), pool.blockBytes());
    }

    /// As if the other process had gone before the pool was opened.
    void forgetHandle() {
        BY_HANDLE.remove(offer.handle());
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
        long[] sums = new long[blocks.length];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = DeviceChecksum.of(block(blocks[i]), seeds[i]);
        }
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
            public void pull(int[] theirs, int[] ours) {
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
            }

            @Override
            public void close() {
                opened.decrementAndGet();
            }
        };
    }

    @Override
    public void close() {
        BY_HANDLE.remove(offer.handle());
    }
}
