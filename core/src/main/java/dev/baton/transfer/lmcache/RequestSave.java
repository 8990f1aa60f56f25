package dev.baton.transfer.lmcache;

import dev.baton.transfer.BlockReaders;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/// The saving of one request's chunks: who may still read its blocks, and whether they are held for that.
///
/// The engine's thread decides which chunks are to be saved; the saver's thread copies them, block by block. After
/// [#fence] nothing is copied any more.
final class RequestSave {
    private final KvRequest request;
    private final Consumer<RequestSave> onEnd;
    private final Consumer<KvEvent> sink;
    private final BlockReaders readers = new BlockReaders(); // a batch is a chunk
    private final List<String> keys = new ArrayList<>(); // saver's thread only
    private final List<String> handedKeys = new ArrayList<>(); // saver's thread only
    private long lastHash; // saver's thread only
    private int storedTokens; // saver's thread only
    private long storedBytes; // saver's thread only
    private int nextChunk; // engine's thread only

    /// @param onEnd told when the hold has ended, before the event is
    RequestSave(KvRequest request, Consumer<RequestSave> onEnd, Consumer<KvEvent> sink) {
        this.request = request;
        this.onEnd = onEnd;
        this.sink = sink;
    }

    KvRequest request() {
        return request;
    }

    /// The first chunk that nothing was decided about.
    int nextChunk() {
        return nextChunk;
    }

    /// One more chunk waits to be copied.
    void add() {
        nextChunk++;
        readers.begin();
    }

    /// A chunk has been copied, or will not be.
    void copied() {
        if (readers.end()) {
            holdEnded();
        }
    }

    /// Runs a copy from one block, unless the blocks may not be read any more.
    boolean copy(Runnable block) {
        return readers.read(block);
    }

    boolean isFenced() {
        return readers.isFenced();
    }

    /// Keeps the blocks until everything has been copied.
    ///
    /// @return false if it has been already
    boolean hold() {
        return readers.hold();
    }

    /// Nothing is copied once this returns; ends a hold.
    ///
    /// @return whether there was one
    boolean fence() {
        boolean ended = readers.fence();
        if (ended) {
            holdEnded();
        }
        return ended;
    }

    private void holdEnded() {
        onEnd.accept(this);
        sink.accept(new KvEvent.LeaseReleased(request.requestId()));
    }

    /// The key of the chunk behind those that this was asked for before. Saver's thread only.
    String nextKey(ChunkKeys chunkKeys, int[] tokens, int end) {
        int from = keys.size() * chunkKeys.chunkTokens();
        lastHash = chunkKeys.hasher().next(from == 0 ? chunkKeys.hasher().root() : lastHash, tokens, from, end);
        String key = chunkKeys.key(lastHash);
        keys.add(key);
        return key;
    }

    /// Keys so far. Saver's thread only.
    List<String> keys() {
        return keys;
    }

    /// Keys of the chunks that the request's decoder has. Saver's thread only, which adds to them.
    List<String> handedKeys() {
        return handedKeys;
    }

    /// Counts a chunk that was stored. Saver's thread only.
    void stored(int tokens, long bytes) {
        storedTokens += tokens;
        storedBytes += bytes;
    }

    int storedTokens() {
        return storedTokens;
    }

    long storedBytes() {
        return storedBytes;
    }
}
