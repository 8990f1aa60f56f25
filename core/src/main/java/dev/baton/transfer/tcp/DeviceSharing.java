package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.DeviceBlocks.PeerPool;
import dev.baton.transfer.BlockSeeds;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/// Pools in the memory of GPUs, which read each other and compute the checksums themselves: the prefiller's
/// while the decoder copies, the decoder's behind its copies, so that neither side's cost much time of their
/// own.
///
/// @param underWay copies of all prefillers' blocks: they have one thread and one stream
record DeviceSharing(DeviceBlocks device, int blockTokens, long blockBytes, long layerBytes, AtomicInteger underWay)
        implements PoolSharing {
    DeviceSharing(DeviceBlocks device, int blockTokens, long blockBytes, long layerBytes) {
        this(device, blockTokens, blockBytes, layerBytes, new AtomicInteger());
    }

    @Override
    public Offer offer() {
        return device.offer();
    }

    @Override
    public OpenPool open(Offer peer) {
        return new Opened(device.open(peer), peer.numBlocks());
    }

    /// Knows how fast it is.
    private final class Opened implements OpenPool {
        private final PeerPool pool;
        private final int numBlocks;
        private final CopyRate rate = new CopyRate();

        Opened(PeerPool pool, int numBlocks) {
            this.pool = pool;
            this.numBlocks = numBlocks;
        }

        @Override
        public int numBlocks() {
            return numBlocks;
        }

        @Override
        public long[] copy(Transfer transfer, int[] theirs, int[] ours, int[] indexes) {
            return measured(
                            ours.length * blockBytes,
                            () -> CompletableFuture.completedFuture(pool.pull(theirs, ours, seeds(transfer, indexes))))
                    .join();
        }

        @Override
        public CompletableFuture<long[]> copyLayers(
                Transfer transfer, int[] theirs, int[] ours, int[] indexes, int firstLayer, int endLayer) {
            long bytes = (endLayer - firstLayer) * layerBytes;
            return measured(
                    ours.length * bytes,
                    () -> pool.pull(theirs, ours, seeds(transfer, indexes), firstLayer * layerBytes, bytes));
        }

        /// Takes the time, unless other copies have to end before.
        private CompletableFuture<long[]> measured(long bytes, Supplier<CompletableFuture<long[]>> copy) {
            boolean isAlone = underWay.getAndIncrement() == 0;
            long start = System.nanoTime();
            CompletableFuture<long[]> sums;
            try {
                sums = copy.get();
            } catch (RuntimeException | Error e) {
                underWay.decrementAndGet();
                throw e;
            }
            return sums.whenComplete((found, failure) -> {
                underWay.decrementAndGet();
                if (isAlone && failure == null) {
                    rate.measured(bytes, System.nanoTime() - start);
                }
            });
        }

        @Override
        public OptionalLong expectedNanos(long bytes) {
            return rate.nanos(bytes);
        }

        @Override
        public void close() {
            pool.close();
        }
    }

    @Override
    public long[] sums(Transfer transfer, int[] blocks, int[] indexes) {
        return device.sums(blocks, seeds(transfer, indexes));
    }

    private long[] seeds(Transfer transfer, int[] indexes) {
        return new BlockSeeds(transfer.engineId(), transfer.handle(), transfer.epoch())
                .of(indexes, transfer.numTokens(), blockTokens);
    }

    /// What is sent goes through host memory.
    @Override
    public boolean copiesPushed() {
        return true;
    }

    @Override
    public boolean copiesLayers() {
        return device.pullsParts();
    }

    @Override
    public boolean copiesAtOnce() {
        return true;
    }

    /// All: copies do not wait for them.
    @Override
    public int piece() {
        return Limits.MAX_PULL_BLOCKS;
    }
}
