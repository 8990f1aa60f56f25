package dev.baton.transfer.lmcache;

import dev.baton.wire.Threads;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Saves chunks one after the other, on a thread of its own: copies a chunk out of the pool, lets go of the
/// blocks, and then hands it to the tiers that have not got it.
///
/// Thread-safe.
final class ChunkSaver implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(ChunkSaver.class);

    /// One chunk to be saved.
    ///
    /// @param tokens of the request, at least as many as `end`; not changed any more
    /// @param blockIds blocks that hold them
    /// @param from first token of the chunk
    /// @param end the one behind its last; `from` if this is the end of the request and nothing else
    /// @param last whether nothing of the request comes after this
    record Task(RequestSave save, int[] tokens, int[] blockIds, int from, int end, boolean last) {}

    private final ChunkLayout layout;
    private final ChunkKeys keys;
    private final Tiers tiers;
    private final Counters counters;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment chunk;
    private final LinkedBlockingQueue<Task> queue = new LinkedBlockingQueue<>(Limits.MAX_WAITING_SAVES);
    private final Thread thread =
            Thread.ofPlatform().daemon().name("baton-kv-save").unstarted(this::runAll);

    ChunkSaver(ChunkLayout layout, ChunkKeys keys, Tiers tiers, Counters counters) {
        this.layout = layout;
        this.keys = keys;
        this.tiers = tiers;
        this.counters = counters;
        this.chunk = arena.allocate(layout.chunkBytes(), 64);
        thread.start();
    }

    /// Takes a chunk to be saved; returns at once.
    ///
    /// @return false if too many wait already
    boolean offer(Task task) {
        return queue.offer(task);
    }

    private void runAll() {
        try {
            while (true) {
                Task task = queue.take();
                try {
                    run(task);
                } catch (RuntimeException | OutOfMemoryError e) {
                    LOG.error(
                            "saving a chunk of {} failed", task.save().request().requestId(), e);
                    boolean _ = task.save().fence(); // the chunks behind it would be of no use
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // closed
        }
    }

    private void run(Task task) {
        RequestSave save = task.save();
        if (task.end() > task.from()) {
            save(task);
        }
        if (task.last() && save.storedTokens() > 0) {
            tiers.touch(save.keys());
            // Words of LMCache's log.
            LOG.info(
                    "Reqid: {}, Stored {} out of total {} tokens. size: {} MB",
                    save.request().requestId(),
                    save.storedTokens(),
                    task.end(),
                    save.storedBytes() >> 20);
        }
    }

    private void save(Task task) {
        long startNanos = System.nanoTime();
        RequestSave save = task.save();
        List<GuardedTier> targets;
        boolean copied;
        try {
            if (save.isFenced()) {
                return;
            }
            String key = save.nextKey(keys.withTagsOf(save.request()), task.tokens(), task.end());
            targets = tiers.missing(key);
            copied = !targets.isEmpty() && copy(task);
        } finally {
            save.copied();
        }
        if (!copied) {
            return;
        }
        counters.stores.increment();
        ChunkHead head = layout.head(task.end() - task.from());
        boolean isStored = false;
        for (GuardedTier tier : targets) {
            if (tier.put(save.keys().getLast(), head, chunk)) {
                isStored = true;
                counters.storedBytes.add(head.lengthBytes());
            }
        }
        if (isStored) {
            save.stored(task.end() - task.from(), head.lengthBytes());
            counters.stored(task.end() - task.from(), System.nanoTime() - startNanos);
        } else {
            counters.droppedSaves.increment();
        }
    }

    private boolean copy(Task task) {
        int rows = task.end() - task.from();
        int blockTokens = layout.blockTokens();
        for (int token = task.from(); token < task.end(); token += blockTokens) {
            int block = task.blockIds()[token / blockTokens];
            int row = token - task.from();
            int count = Math.min(blockTokens, rows - row);
            if (!task.save().copy(() -> layout.save(block, 0, count, chunk, row, rows))) {
                return false;
            }
        }
        return true;
    }

    /// Chunks that wait.
    int numWaiting() {
        return queue.size();
    }

    /// Ends when the chunk at hand has; what waits is not saved. The tiers are to be disconnected before.
    @Override
    public void close() {
        thread.interrupt();
        Threads.awaitEnd(thread);
        arena.close();
    }
}
