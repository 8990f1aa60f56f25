package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks.Offer;

/// How processes of one host read each other's pools without sending a block: the decoder copies, and both compute
/// the checksums of what they have. Thread-safe.
interface PoolSharing {
    /// Which transfer checksums are of: blocks of another one have others.
    ///
    /// @param engineId the prefiller
    /// @param handle its lease
    /// @param numTokens tokens that the lease holds
    record Transfer(String engineId, String handle, long epoch, int numTokens) {}

    /// How others reach this pool; with an empty handle if they cannot, and it can reach theirs at most.
    Offer offer();

    /// Opens the pool of another process, whose offer names this host and the same kind of memory.
    ///
    /// @throws dev.baton.tensor.TensorException if that cannot be
    OpenPool open(Offer peer);

    /// The pool of another process, open here until it is closed.
    interface OpenPool extends AutoCloseable {
        /// Copies blocks from there into the pool of this process.
        ///
        /// @param theirs blocks there
        /// @param ours for each of them, the block to fill
        /// @param indexes of these blocks in the transfer
        /// @return the checksums of what is in this process's pool then
        /// @throws dev.baton.tensor.TensorException if a block is not in its pool, or a device failed
        long[] copy(Transfer transfer, int[] theirs, int[] ours, int[] indexes);

        @Override
        void close();
    }

    /// The checksums of blocks of this pool.
    ///
    /// @param indexes of these blocks in the transfer
    long[] sums(Transfer transfer, int[] blocks, int[] indexes);

    /// Whether blocks of a prompt that is pushed are copied once it is computed, rather than sent while it is:
    /// they are there sooner so.
    boolean copiesPushed();

    /// Blocks whose checksums are best computed at a time, and which are copied then, unless all are at once.
    ///
    /// @param before blocks of the same transfer that had their turn
    int piece(int before);

    /// Whether the decoder copies all blocks once it has the first checksums, which say that they are held, rather
    /// than each piece when it has its checksums.
    boolean copiesAtOnce();
}
