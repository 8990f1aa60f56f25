package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.DeviceBlocks.PeerPool;

/// Pools in the memory of GPUs, which read each other and compute the checksums themselves. The prefiller's
/// come a few blocks at a time, the first one's at once: with it all are copied, and summed up here behind
/// their copies, so that neither side's checksums cost much time of their own.
record DeviceSharing(DeviceBlocks device, int blockTokens) implements PoolSharing {
    private static final int SUMMED_AT_A_TIME = 16;

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
                return pool.pull(theirs, ours, seeds(transfer, indexes));
            }

            @Override
            public void close() {
                pool.close();
            }
        };
    }

    @Override
    public long[] sums(Transfer transfer, int[] blocks, int[] indexes) {
        return device.sums(blocks, seeds(transfer, indexes));
    }

    private long[] seeds(Transfer transfer, int[] indexes) {
        return new BlockSeeds(transfer.engineId(), transfer.handle(), transfer.epoch())
                .of(indexes, transfer.numTokens(), blockTokens);
    }

    /// A copy between devices takes a few milliseconds; what is sent goes through host memory.
    @Override
    public boolean copiesPushed() {
        return true;
    }

    @Override
    public int piece(int before) {
        return Math.min(SUMMED_AT_A_TIME, before + 1);
    }

    @Override
    public boolean copiesAtOnce() {
        return true;
    }
}
