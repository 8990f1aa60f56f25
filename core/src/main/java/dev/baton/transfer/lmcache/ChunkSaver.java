package dev.baton.transfer.lmcache;

import dev.baton.metrics.KvSendEvent;
import dev.baton.wire.Threads;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
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
    private final Optional<PdSender> sender;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment chunk;
    private final LinkedBlockingQueue<Task> queue = new LinkedBlockingQueue<>(Limits.MAX_WAITING_SAVES);
    private final Thread thread =
            Thread.ofPlatform().daemon().name("baton-kv-save").unstarted(this::runAll);

    /// @param sender takes the chunks of requests that name a decoder
    ChunkSaver(ChunkLayout layout, ChunkKeys keys, Tiers tiers, Counters counters, Optional<PdSender> sender) {
        this.layout = layout;
        this.keys = keys;
        this.tiers = tiers;
        this.counters = counters;
        this.sender = sender;
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
        if (task.last() && sender.isPresent()) {
            endHandOff(save, sender.get());
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
        KvSendEvent event = KvSendEvent.started();
        long startNanos = System.nanoTime();
        RequestSave save = task.save();
        List<GuardedTier> targets;
        Optional<PdSender.Spec> decoder;
        boolean copied;
        try {
            if (save.isFenced()) {
                return;
            }
            String key = save.nextKey(keys.withTagsOf(save.request()), task.tokens(), task.end());
            targets = tiers.missing(key);
            decoder = sender.flatMap(_ -> PdSender.Spec.of(save.request().params()));
            copied = (decoder.isPresent() || !targets.isEmpty()) && copy(task);
        } finally {
            save.copied();
        }
        if (!copied) {
            return;
        }
        counters.stores.increment();
        ChunkHead head = layout.head(task.end() - task.from());
        long bytes = decoder.isPresent() && send(save, decoder.get(), head) ? head.lengthBytes() : 0;
        for (GuardedTier tier : targets) {
            if (tier.put(save.keys().getLast(), head, chunk)) {
                bytes += head.lengthBytes();
                counters.storedBytes.add(head.lengthBytes());
            }
        }
        if (bytes > 0) {
            save.stored(task.end() - task.from(), head.lengthBytes());
            counters.stored(task.end() - task.from(), System.nanoTime() - startNanos);
        } else {
            counters.droppedSaves.increment();
        }
        event.ended(
                LmCacheConnector.NAME,
                save.request().requestId(),
                decoder.<Object>map(PdSender.Spec::host).orElse(targets),
                Math.ceilDiv(task.end() - task.from(), layout.blockTokens()),
                bytes,
                bytes > 0 ? KvSendEvent.SENT : "not stored anywhere");
    }

    /// Brings a chunk to the decoder of its request; if that fails, what follows is not brought either.
    private boolean send(RequestSave save, PdSender.Spec decoder, ChunkHead head) {
        try {
            sender.orElseThrow().send(decoder, save.keys().getLast(), head, chunk);
            save.handedKeys().add(save.keys().getLast());
            counters.storedBytes.add(head.lengthBytes());
            return true;
        } catch (IOException e) {
            LOG.warn("{} is not handed to its decoder: {}", save.request().requestId(), e.getMessage());
            boolean _ = save.fence();
            if (e instanceof ChunkRefusedException) {
                refused(save, decoder);
            }
            return false;
        }
    }

    /// The decoder will compute the prompt, and can begin at once: LMCache's messages know no refusal, so the proxy
    /// is told what makes it go on.
    private void refused(RequestSave save, PdSender.Spec decoder) {
        PdSender to = sender.orElseThrow();
        try {
            cancel(save, decoder, to);
            to.announce(decoder);
        } catch (IOException e) {
            handOffFailed(save, e);
        }
    }

    private static void cancel(RequestSave save, PdSender.Spec decoder, PdSender to) throws IOException {
        List<String> handed = List.copyOf(save.handedKeys());
        save.handedKeys().clear(); // each is given up once
        to.cancel(decoder, handed);
    }

    private static void handOffFailed(RequestSave save, IOException reason) {
        LOG.warn("the hand-off of {} does not end well: {}", save.request().requestId(), reason.getMessage());
    }

    /// Tells the proxy that the decoder has all chunks, or the decoder that it will not get them.
    private void endHandOff(RequestSave save, PdSender to) {
        Optional<PdSender.Spec> decoder = PdSender.Spec.of(save.request().params());
        if (decoder.isEmpty()) {
            return;
        }
        try {
            if (save.isFenced()) {
                cancel(save, decoder.get(), to);
            } else {
                to.announce(decoder.get());
            }
        } catch (IOException e) {
            handOffFailed(save, e);
        }
    }

    /// Gives up a request whose chunks were to be saved: nothing of it is copied any more, and a decoder that
    /// has some of them is told.
    void abandon(RequestSave save) {
        boolean _ = save.fence();
        if (sender.isPresent()) {
            boolean _ = queue.offer(new Task(save, new int[0], new int[0], 0, 0, true));
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
        sender.ifPresent(PdSender::disconnect);
        thread.interrupt();
        Threads.awaitEnd(thread);
        sender.ifPresent(PdSender::close);
        arena.close();
    }
}
