package dev.baton.transfer.lmcache;

import dev.baton.transfer.KvLoad;
import dev.baton.transfer.KvRequest;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The load of one request: looks up its chunks in order and copies them into its blocks, up to the first that
/// is not there.
///
/// Run by one thread; [#cancel] may come from any. Bytes from outside go into memory of the thread first, so a load
/// that is cancelled has ended at once, whatever its thread waits for.
final class ChunkLoad implements KvLoad {
    private static final Logger LOG = LoggerFactory.getLogger(ChunkLoad.class);

    /// How a load ends; exactly one of them is called, once.
    interface Outcome {
        void arrived(ChunkLoad load, int numTokens, long numBytes);

        void failed(ChunkLoad load, String reason);
    }

    private final KvRequest request;
    private final int[] blockIds; // (blocks of the prompt)
    private final int numComputedTokens;
    private final int endToken;
    private final LmCacheWorker worker;
    private final long startNanos = System.nanoTime();
    private final ReentrantLock lock = new ReentrantLock();
    private boolean over;

    /// @param numComputedTokens tokens that are in the blocks already, not to be written
    /// @param endToken the token behind the last one wanted
    ChunkLoad(KvRequest request, int[] blockIds, int numComputedTokens, int endToken, LmCacheWorker worker) {
        this.request = request;
        this.blockIds = blockIds;
        this.numComputedTokens = numComputedTokens;
        this.endToken = endToken;
        this.worker = worker;
    }

    @Override
    public String requestId() {
        return request.requestId();
    }

    @Override
    public void start() {
        worker.begin(this);
    }

    long elapsedNanos() {
        return System.nanoTime() - startNanos;
    }

    void cancel(String reason, Outcome outcome) {
        if (end()) {
            outcome.failed(this, reason);
        }
    }

    /// @return whether it was not over before
    private boolean end() {
        lock.lock();
        try {
            boolean first = !over;
            over = true;
            return first;
        } finally {
            lock.unlock();
        }
    }

    private boolean isOver() {
        lock.lock();
        try {
            return over;
        } finally {
            lock.unlock();
        }
    }

    /// Brings what there is.
    ///
    /// @param chunk memory for one chunk, this thread's own
    /// @param minTokens hits that it takes for a load
    /// @param timeout bound of the whole
    void run(
            Tiers tiers,
            ChunkLayout layout,
            ChunkKeys chunkKeys,
            MemorySegment chunk,
            int minTokens,
            Duration timeout,
            Outcome outcome) {
        List<String> keys = chunkKeys.withTagsOf(request).keys(request.tokenIds(), endToken);
        int first = numComputedTokens / layout.chunkTokens();
        int arrived = numComputedTokens;
        long numBytes = 0;
        if (minTokens == 0 || hasTokens(tiers, keys, first, minTokens, layout)) {
            for (int i = first; i < keys.size() && !isOver() && elapsedNanos() < timeout.toNanos(); i++) {
                int from = i * layout.chunkTokens();
                int end = Math.min(endToken, from + layout.chunkTokens());
                ChunkHead head = layout.head(end - from);
                if (!tiers.get(keys.get(i), head, chunk)) {
                    break;
                }
                if (!copy(layout, chunk, from, end, arrived)) {
                    return; // cancelled
                }
                arrived = end;
                numBytes += head.lengthBytes();
            }
        }
        if (isOver()) {
            return;
        }
        tiers.touch(keys.subList(0, Math.ceilDiv(arrived, layout.chunkTokens())));
        // Words of LMCache's log, which people look for.
        LOG.info(
                "Reqid: {}, Total tokens {}, LMCache hit tokens: {}, need to load: {}",
                requestId(),
                request.numTokens(),
                arrived == numComputedTokens ? 0 : arrived,
                arrived - numComputedTokens);
        if (end()) {
            outcome.arrived(this, arrived - numComputedTokens, numBytes);
        }
    }

    private boolean hasTokens(Tiers tiers, List<String> keys, int first, int minTokens, ChunkLayout layout) {
        for (int i = first; i < keys.size(); i++) {
            if (!tiers.contains(keys.get(i))) {
                return i * layout.chunkTokens() >= minTokens;
            }
        }
        return endToken >= minTokens;
    }

    /// Copies the tokens `[from .. end)` of a chunk, but not those before `first`, block by block, each under
    /// the lock.
    private boolean copy(ChunkLayout layout, MemorySegment chunk, int from, int end, int first) {
        int blockTokens = layout.blockTokens();
        for (int token = Math.max(from, first); token < end; ) {
            int slot = token % blockTokens;
            int count = Math.min(blockTokens - slot, end - token);
            lock.lock();
            try {
                if (over) {
                    return false;
                }
                layout.load(blockIds[token / blockTokens], slot, count, chunk, token - from, end - from);
            } finally {
                lock.unlock();
            }
            token += count;
        }
        return true;
    }
}
