package dev.baton.transfer.mooncake;

import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/// Addresses that prefillers write to, made up for each load: the blocks of a load get numbers that no other load
/// ever has, and memory stands behind them only while it is under way. So a prefiller that was paused, and writes
/// when its load is long over, is refused, although the protocol knows no epochs; and no peer learns where
/// anything really lies.
///
/// A zone has one region for each piece that a block is sent in (one for all of it, or one a layer); block `n` of
/// region `r` lies at `base + r * SPAN + n * blockBytes`, which is what a prefiller that is told `base` computes.
///
/// Thread-safe.
final class LandingZone {
    /// Addresses of one region.
    static final long SPAN = 1L << 52;

    private final long base;
    private final int regions;
    private final long blockBytes;
    private final AtomicLong nextBlock;
    private final ConcurrentSkipListMap<Long, Window> windows = new ConcurrentSkipListMap<>(); // by first block

    /// @param blockBytes of one block in one region
    LandingZone(long base, int regions, long blockBytes) {
        this.base = base;
        this.regions = regions;
        this.blockBytes = blockBytes;
        // Another start in each instance: late writes to one that was on this port before go nowhere either.
        this.nextBlock = new AtomicLong(new SecureRandom().nextLong(SPAN / blockBytes / 2));
    }

    /// Where each region begins.
    List<Long> bases() {
        List<Long> bases = new ArrayList<>();
        for (int region = 0; region < regions; region++) {
            bases.add(base + region * SPAN);
        }
        return bases;
    }

    long blockBytes() {
        return blockBytes;
    }

    /// Opens memory for one load.
    ///
    /// @param targets for each region, for each block: where its bytes go
    Window open(List<List<MemorySegment>> targets) {
        int blocks = targets.getFirst().size();
        long first = nextBlock.getAndAdd(blocks);
        if (first < 0 || first + blocks > SPAN / blockBytes) {
            throw new TransferException(
                    "all %d block numbers have been used; restart this instance".formatted(SPAN / blockBytes));
        }
        Window window = new Window(first, targets);
        windows.put(first, window);
        return window;
    }

    /// Lets a peer write.
    ///
    /// @return empty if the range is not within one open window
    Optional<TeMemory.Access> beginWrite(long address, long length, Runnable fence) {
        long offset = address - base;
        if (offset < 0 || offset / SPAN >= regions) {
            return Optional.empty();
        }
        int region = (int) (offset / SPAN);
        long within = offset % SPAN;
        Map.Entry<Long, Window> entry = windows.floorEntry(within / blockBytes);
        return entry == null
                ? Optional.empty()
                : entry.getValue().begin(region, within - entry.getKey() * blockBytes, length, fence);
    }

    /// The memory of one load. A write counts when all of it is there; which bytes of a block are there is known
    /// up to the first gap.
    final class Window {
        private final long firstBlock;
        private final List<List<MemorySegment>> targets; // [region][block]
        private final long[][] arrived; // [region][block], bytes up to the first gap
        private final ReentrantLock lock = new ReentrantLock();
        private final Condition writerLeft = lock.newCondition();
        private final List<Write> writers = new ArrayList<>(2);
        private boolean closed;

        private Window(long firstBlock, List<List<MemorySegment>> targets) {
            this.firstBlock = firstBlock;
            this.targets = targets;
            this.arrived = new long[regions][numBlocks()];
        }

        /// What the prefiller is to call the blocks.
        long[] blockNumbers() {
            long[] numbers = new long[numBlocks()];
            for (int i = 0; i < numbers.length; i++) {
                numbers[i] = firstBlock + i;
            }
            return numbers;
        }

        int numBlocks() {
            return targets.getFirst().size();
        }

        long numBytes() {
            return (long) regions * numBlocks() * blockBytes;
        }

        /// Whether every byte is there.
        boolean isFull() {
            lock.lock();
            try {
                for (long[] region : arrived) {
                    for (long bytes : region) {
                        if (bytes < blockBytes) {
                            return false;
                        }
                    }
                }
                return true;
            } finally {
                lock.unlock();
            }
        }

        /// Refuses writes from now on and stops those under way. Returns when nobody writes any more.
        void close() {
            lock.lock();
            try {
                closed = true;
                writers.forEach(write -> write.fence.run());
                while (!writers.isEmpty()) {
                    writerLeft.awaitUninterruptibly();
                }
            } finally {
                lock.unlock();
            }
            windows.remove(firstBlock, this);
        }

        private Optional<TeMemory.Access> begin(int region, long offset, long length, Runnable fence) {
            if (length < 0 || length > numBlocks() * blockBytes - offset) {
                return Optional.empty();
            }
            List<ByteBuffer> pieces = new ArrayList<>();
            for (long at = offset; at < offset + length; ) {
                int block = (int) (at / blockBytes);
                long from = at % blockBytes;
                long bytes = Math.min(blockBytes - from, offset + length - at);
                pieces.add(targets.get(region).get(block).asSlice(from, bytes).asByteBuffer());
                at += bytes;
            }
            Write write = new Write(this, region, offset, length, pieces, fence);
            lock.lock();
            try {
                if (closed) {
                    return Optional.empty();
                }
                writers.add(write);
                return Optional.of(write);
            } finally {
                lock.unlock();
            }
        }

        private void end(Write write, boolean complete) {
            lock.lock();
            try {
                if (writers.remove(write) && complete) {
                    count(write);
                }
                writerLeft.signalAll();
            } finally {
                lock.unlock();
            }
        }

        private void count(Write write) {
            long[] blocks = arrived[write.region];
            for (long at = write.offset; at < write.offset + write.length; ) {
                int block = (int) (at / blockBytes);
                long from = at % blockBytes;
                long to = Math.min(blockBytes, from + write.offset + write.length - at);
                if (from <= blocks[block]) {
                    blocks[block] = Math.max(blocks[block], to);
                }
                at += to - from;
            }
        }
    }

    /// One write under way.
    private static final class Write implements TeMemory.Access {
        private final Window window;
        private final int region;
        private final long offset; // within the window's blocks
        private final long length;
        private final List<ByteBuffer> pieces;
        private final Runnable fence;

        Write(Window window, int region, long offset, long length, List<ByteBuffer> pieces, Runnable fence) {
            this.window = window;
            this.region = region;
            this.offset = offset;
            this.length = length;
            this.pieces = pieces;
            this.fence = fence;
        }

        @Override
        public List<ByteBuffer> pieces() {
            return pieces;
        }

        @Override
        public void end(boolean complete) {
            window.end(this, complete);
        }
    }
}
