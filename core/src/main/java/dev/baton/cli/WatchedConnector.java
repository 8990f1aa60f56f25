package dev.baton.cli;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceChecksum;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvConnector;
import dev.baton.transfer.KvConnectorFactory;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.tcp.TcpConnector;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/// Makes a TCP connector over a GPU's pool, sees how blocks move, compares the GPU's checksums with the host's, and
/// damages blocks that arrive, if asked to. Thread-safe.
final class WatchedConnector implements KvConnectorFactory {
    private final AtomicInteger pulls = new AtomicInteger();
    private final AtomicInteger writes = new AtomicInteger();
    private final AtomicInteger flips = new AtomicInteger();
    private final List<Long> pullNanos = new CopyOnWriteArrayList<>();
    private volatile boolean sumsAgree = true;
    private volatile boolean compares = true;
    private volatile Optional<TcpConnector> connector = Optional.empty();

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
        TcpConnector started = TcpConnector.start(config, spec, watched, compatibility, sink);
        connector = Optional.of(started);
        return started;
    }

    /// What the connector has counted.
    KvTransferStats stats() {
        return connector.map(TcpConnector::stats).orElse(KvTransferStats.ZERO);
    }

    /// Bytes of blocks that came before the prefill of their prompt had ended.
    long bytesBeforeFirstToken() {
        return connector.map(TcpConnector::bytesBeforeFirstToken).orElse(0L);
    }

    /// Copies from GPU to GPU so far.
    int pulls() {
        return pulls.get();
    }

    /// Blocks that went through host memory so far.
    int writes() {
        return writes.get();
    }

    /// Damages a byte of that many of the next copies.
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

    /// Median of the last copies and their checksums, in milliseconds.
    double pullMillis(int last) {
        List<Long> sorted = pullNanos.subList(Math.max(0, pullNanos.size() - last), pullNanos.size()).stream()
                .sorted()
                .toList();
        return sorted.isEmpty() ? 0 : sorted.get(sorted.size() / 2) / 1e6;
    }

    private final class Watched implements DeviceBlocks {
        private final DeviceBlocks real;

        Watched(DeviceBlocks real) {
            this.real = real;
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
            long[] sums = real.sums(blocks, seeds);
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
                    damage(ours[ours.length - 1]);
                    return sums(ours, seeds);
                }

                @Override
                public void close() {
                    pool.close();
                }
            };
        }

        private void damage(int block) {
            try (Staging staging = real.newStaging()) {
                staging.read(block);
                long offset = staging.segment().byteSize() / 3;
                byte damaged = (byte) (staging.segment().get(ValueLayout.JAVA_BYTE, offset) ^ 4);
                staging.segment().set(ValueLayout.JAVA_BYTE, offset, damaged);
                staging.write(block);
            }
        }

        @Override
        public void close() {
            real.close();
        }
    }
}
