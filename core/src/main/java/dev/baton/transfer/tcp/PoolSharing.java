package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks.Offer;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;

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
        /// How many blocks it has, numbered from 0.
        int numBlocks();

        /// Copies blocks from there into the pool of this process.
        ///
        /// @param theirs blocks there
        /// @param ours for each of them, the block to fill
        /// @param indexes of these blocks in the transfer
        /// @return the checksums of what is in this process's pool then
        /// @throws dev.baton.tensor.TensorException if a block is not in its pool, or a device failed
        long[] copy(Transfer transfer, int[] theirs, int[] ours, int[] indexes);

        /// Copies some layers of blocks, while the caller goes on; only where [PoolSharing#copiesLayers].
        ///
        /// @return the checksums of what is in this process's pool then: those of a block's layers add up
        ///     to its own. Nothing writes into the layers any more when it is done, in whatever way
        /// @throws dev.baton.tensor.TensorException if a block is not in its pool
        default CompletableFuture<long[]> copyLayers(
                Transfer transfer, int[] theirs, int[] ours, int[] indexes, int firstLayer, int endLayer) {
            throw new UnsupportedOperationException("blocks of this pool are copied as a whole");
        }

        /// What copying so much would take, by earlier copies from there; empty if nothing is known.
        default OptionalLong expectedNanos(long bytes) {
            return OptionalLong.empty();
        }

        @Override
        void close();
    }

    /// The checksums of blocks of this pool.
    ///
    /// @param indexes of these blocks in the transfer
    long[] sums(Transfer transfer, int[] blocks, int[] indexes);

    /// Whether the decoder copies the blocks of a prompt that is pushed, layers of them at a time, rather than have
    /// them sent: they are there sooner so.
    boolean copiesPushed();

    /// Whether it can copy them while the prompt is computed.
    default boolean copiesLayers() {
        return false;
    }

    /// Whether the decoder copies all blocks as soon as it has asked for them, and the prefiller computes their
    /// checksums meanwhile, rather than each piece when it has its checksums.
    boolean copiesAtOnce();

    /// Blocks whose checksums are computed at a time, and which are copied then, unless all are at once.
    int piece();
}
