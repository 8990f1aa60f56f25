package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.DeviceBlocks.PeerPool;

/// Pools in the memory of GPUs, which read each other and compute the checksums themselves. All blocks of a request
/// at a time: launching work costs more than it does to wait for the last block.
record DeviceSharing(DeviceBlocks device, int blockTokens) implements PoolSharing {
    @Override
    public Offer offer() {
        return device.offer();
    }

    @Override
    public OpenPool open(Offer peer) {
        PeerPool pool = device.open(peer);
        return new OpenPool() {
            @Override
            public long[] copy(Transfer transfer, int[] theirs, int[] ours, int[] indexes) {
                pool.pull(theirs, ours);
                return sums(transfer, ours, indexes);
            }

            @Override
            public void close() {
                pool.close();
            }
        };
    }

    @Override
    public long[] sums(Transfer transfer, int[] blocks, int[] indexes) {
        return device.sums(
                blocks,
                new BlockSeeds(transfer.engineId(), transfer.handle(), transfer.epoch())
                        .of(indexes, transfer.numTokens(), blockTokens));
    }

    /// A copy between devices takes a few milliseconds; what is sent goes through host memory.
    @Override
    public boolean copiesPushed() {
        return true;
    }

    @Override
    public int piece() {
        return Limits.MAX_PULL_BLOCKS;
    }
}
