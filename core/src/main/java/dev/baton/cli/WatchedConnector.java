package dev.baton.cli;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.tcp.TcpConnector;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/// Makes a connector over a GPU's pool, sees how blocks move, compares the GPU's checksums with the host's, and
/// damages blocks that arrive, if asked to. Thread-safe.
final class WatchedConnector implements KvConnectorFactory {
    private final AtomicInteger pulls = new AtomicInteger();
    private final AtomicInteger writes = new AtomicInteger();
    private final AtomicInteger flips = new AtomicInteger();
    private final List<Long> pullNanos = new CopyOnWriteArrayList<>();
    private final List<Long> sumNanos = new CopyOnWriteArrayList<>();
    private final boolean copiesItself;
    private volatile boolean sumsAgree = true;
    private volatile boolean compares = true;
    private volatile boolean pullsParts = true;
    private volatile Optional<KvConnector> connector = Optional.empty();

    /// @param copiesItself whether the connector copies through [DeviceBlocks]
    WatchedConnector(boolean copiesItself) {
        this.copiesItself = copiesItself;
    }

    @Override
    public KvConnector create(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        PagedKv watched = PagedKv.onDevice(
                pool.numBlocks(),
                pool.layers(),
                pool.kvHeads(),
                pool.blockTokens(),
                pool.headDim(),
                pool.dtype(),
                _ -> pool.deviceAddress(),
                () -> {},
                _ -> new Watched(pool.openDeviceBlocks()));
        KvConnector started = KvConnectors.create(config, spec, watched, compatibility, sink);
        connector = Optional.of(started);
        return started;
    }

    /// What the connector has counted.
    KvTransferStats stats() {
        return connector.map(KvConnector::stats).orElse(KvTransferStats.ZERO);
    }

    /// Bytes of blocks that came before the prefill of their prompt had ended.
    long bytesBeforeFirstToken() {
        return connector
                .map(it -> it instanceof TcpConnector tcp ? tcp.bytesBeforeFirstToken() : 0L)
                .orElse(0L);
    }

    /// Copies from GPU to GPU so far.
    int pulls() {
        return pulls.get();
    }

    /// Blocks that went through host memory so far.
    int writes() {
        return writes.get();
    }

    /// Damages a byte of that many of the next copies; of a connector that has others copy, before it sums them up.
    void flip(int copies) {
        flips.set(copies);
    }

    /// Whether the GPU's checksums of the first and the last block of each copy were the host's.
    boolean sumsAgree() {
        return sumsAgree;
    }

    /// From now on nothing but the clock is read: comparing a block costs more than moving all of them.
    void onlyTime() {
        compares = false;
    }

    /// Whether pushed blocks are copied layer by layer from now on, or behind the prefill.
    void pullParts(boolean pulls) {
        pullsParts = pulls;
    }

    /// Median of the last copies and their checksums, in milliseconds.
    double pullMillis(int last) {
        return median(pullNanos, last);
    }

    /// Median of the last checksums, in milliseconds.
    double sumMillis(int last) {
        return median(sumNanos, last);
    }

    private static double median(List<Long> nanos, int last) {
        List<Long> sorted = nanos.subList(Math.max(0, nanos.size() - last), nanos.size()).stream()
                .sorted()
                .toList();
        return sorted.isEmpty() ? 0 : sorted.get(sorted.size() / 2) / 1e6;
    }

    private final class Watched implements DeviceBlocks {
        private final DeviceBlocks real;
        private final Staging partStaging; // made once, as taking such memory holds up the copies; guarded by this

        Watched(DeviceBlocks real) {
            this.real = real;
            this.partStaging = real.newStaging();
        }

        @Override
        public boolean pullsParts() {
            return pullsParts && real.pullsParts();
        }

        @Override
        public int ordinal() {
            return real.ordinal();
        }

        @Override
        public void makeCurrent() {
            real.makeCurrent();
        }

        @Override
        public void settle() {
            real.settle();
        }

        @Override
        public Staging newStaging() {
            Staging staging = real.newStaging();
            return new Staging() {
                @Override
                public MemorySegment segment() {
                    return staging.segment();
                }

                @Override
                public void read(int block, long offset, long bytes) {
                    staging.read(block, offset, bytes);
                }

                @Override
                public void write(int block, long offset, long bytes) {
                    writes.incrementAndGet();
                    staging.write(block, offset, bytes);
                }

                @Override
                public void close() {
                    staging.close();
                }
            };
        }

        @Override
        public long[] sums(int[] blocks, long[] seeds) {
            if (!copiesItself && flips.get() > 0) {
                flips.decrementAndGet();
                long _ = damage(
                        blocks[blocks.length - 1],
                        seeds[seeds.length - 1],
                        0,
                        partStaging.segment().byteSize());
            }
            long start = System.nanoTime();
            long[] sums = real.sums(blocks, seeds);
            sumNanos.add(System.nanoTime() - start);
            compare(blocks, seeds, sums);
            return sums;
        }

        /// Compares the first and the last one with the host's.
        private void compare(int[] blocks, long[] seeds, long[] sums) {
            if (!compares) {
                return;
            }
            try (Staging staging = real.newStaging()) {
                for (int i : new int[] {0, blocks.length - 1}) {
                    staging.read(blocks[i]);
                    if (DeviceChecksum.of(staging.segment(), seeds[i]) != sums[i]) {
                        sumsAgree = false;
                    }
                }
            }
        }

        @Override
        public Offer offer() {
            return real.offer();
        }

        @Override
        public PeerPool open(Offer peer) {
            PeerPool pool = real.open(peer);
            return new PeerPool() {
                @Override
                public long[] pull(int[] theirs, int[] ours, long[] seeds) {
                    pulls.incrementAndGet();
                    long start = System.nanoTime();
                    long[] sums = pool.pull(theirs, ours, seeds);
                    pullNanos.add(System.nanoTime() - start);
                    compare(ours, seeds, sums);
                    if (flips.get() == 0) {
                        return sums;
                    }
                    flips.decrementAndGet();
                    long _ = damage(
                            ours[ours.length - 1],
                            seeds[seeds.length - 1],
                            0,
                            partStaging.segment().byteSize());
                    return sums(ours, seeds);
                }

                @Override
                public CompletableFuture<long[]> pull(int[] theirs, int[] ours, long[] seeds, long offset, long bytes) {
                    pulls.incrementAndGet();
                    CompletableFuture<long[]> parts = pool.pull(theirs, ours, seeds, offset, bytes);
                    return compares ? parts.thenApplyAsync(it -> watch(ours, seeds, offset, bytes, it)) : parts;
                }

                @Override
                public void close() {
                    pool.close();
                }
            };
        }

        /// Compares the checksums of parts, and damages the last one if it is to be.
        private synchronized long[] watch(int[] blocks, long[] seeds, long offset, long bytes, long[] sums) {
            int last = blocks.length - 1;
            if (sumOnHost(blocks[last], seeds[last], offset, bytes) != sums[last]) {
                sumsAgree = false;
            }
            if (flips.get() == 0) {
                return sums;
            }
            flips.decrementAndGet();
            long[] damaged = sums.clone();
            damaged[last] = damage(blocks[last], seeds[last], offset, bytes);
            return damaged;
        }

        private long sumOnHost(int block, long seed, long offset, long bytes) {
            partStaging.read(block, offset, bytes);
            return DeviceChecksum.of(
                    partStaging.segment().asSlice(offset, bytes), DeviceChecksum.partSeed(seed, offset));
        }

        /// Damages a byte of a part of a block.
        ///
        /// @return the checksum of the part then
        private synchronized long damage(int block, long seed, long offset, long bytes) {
            partStaging.read(block, offset, bytes);
            long at = offset + bytes / 3;
            byte damaged = (byte) (partStaging.segment().get(ValueLayout.JAVA_BYTE, at) ^ 4);
            partStaging.segment().set(ValueLayout.JAVA_BYTE, at, damaged);
            partStaging.write(block, offset, bytes);
            return sumOnHost(block, seed, offset, bytes);
        }

        @Override
        public void close() {
            partStaging.close();
            real.close();
        }
    }
}
