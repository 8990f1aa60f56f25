package dev.baton.transfer.tcp;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DeviceBlocks.Offer;
import dev.baton.tensor.MemoryFile;
import dev.baton.tensor.PagedKv;
import dev.baton.tensor.TensorException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Pools in memory files, which processes of one host map. The checksums are those of blocks over TCP.
///
/// About a MiB at a time: while the decoder copies one piece, and checks it slice by slice as it is written, the
/// prefiller computes the checksums of the next.
final class HostSharing implements PoolSharing {
    /// What offers of host memory have as their device.
    private static final String DEVICE = "host memory";

    private static final Logger LOG = LoggerFactory.getLogger(HostSharing.class);
    private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
    private static final long PIECE_BYTES = 1 << 20;

    private final PagedKv pool;
    private final Offer offer;

    HostSharing(PagedKv pool) {
        this.pool = pool;
        this.offer = offer(pool);
    }

    private static Offer offer(PagedKv pool) {
        try {
            return new Offer(
                    Files.readString(BOOT_ID).strip(), DEVICE, pool.fileHandle().orElse(""), pool.numBlocks());
        } catch (IOException e) {
            LOG.info("Other processes of this host are not recognised, KV blocks come over TCP: {}", e.toString());
            return Offer.NONE;
        }
    }

    /// Whether an offer is of a pool in host memory.
    static boolean isOffered(Offer offer) {
        return offer.device().equals(DEVICE);
    }

    @Override
    public Offer offer() {
        return offer;
    }

    @Override
    public OpenPool open(Offer peer) {
        return new Mapped(peer);
    }

    @Override
    public long[] sums(Transfer transfer, int[] blocks, int[] indexes) {
        BlockChecksum checksum = new BlockChecksum(transfer.engineId(), transfer.handle());
        long[] sums = new long[blocks.length];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = checksum.of(
                    transfer.epoch(),
                    indexes[i],
                    tokens(transfer, indexes[i]),
                    pool.block(blocks[i]).asByteBuffer());
        }
        return sums;
    }

    private int tokens(Transfer transfer, int index) {
        return KvCacheSpec.tokensOf(index, transfer.numTokens(), pool.blockTokens());
    }

    /// A processor takes so long for a prompt that sending is hidden behind it.
    @Override
    public boolean copiesPushed() {
        return false;
    }

    @Override
    public boolean copiesAtOnce() {
        return false;
    }

    @Override
    public int piece() {
        return Math.clamp(PIECE_BYTES / pool.blockBytes(), 1, Limits.MAX_PULL_BLOCKS);
    }

    /// The memory file of another process. What it says of its size is compared with the file's.
    private final class Mapped implements OpenPool {
        private final Arena arena = Arena.ofShared();
        private final MemorySegment memory; // (blocks there, blockBytes)
        private final int numBlocks;

        Mapped(Offer peer) {
            this.numBlocks = peer.numBlocks();
            try {
                this.memory = MemoryFile.open(peer.handle(), numBlocks * pool.blockBytes(), arena);
            } catch (RuntimeException | Error e) {
                arena.close();
                throw e;
            }
        }

        @Override
        public int numBlocks() {
            return numBlocks;
        }

        @Override
        public long[] copy(Transfer transfer, int[] theirs, int[] ours, int[] indexes) {
            BlockChecksum checksum = new BlockChecksum(transfer.engineId(), transfer.handle());
            long[] sums = new long[theirs.length];
            for (int i = 0; i < sums.length; i++) {
                sums[i] = checksum.copy(
                        transfer.epoch(),
                        indexes[i],
                        tokens(transfer, indexes[i]),
                        block(theirs[i]),
                        pool.block(ours[i]));
            }
            return sums;
        }

        private MemorySegment block(int id) {
            if (id < 0 || id >= numBlocks) {
                throw new TensorException("block " + id + " is not in a pool of " + numBlocks);
            }
            return memory.asSlice(pool.blockOffsetBytes(id), pool.blockBytes());
        }

        @Override
        public void close() {
            arena.close();
        }
    }
}
