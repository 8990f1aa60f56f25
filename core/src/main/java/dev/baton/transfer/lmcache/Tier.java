package dev.baton.transfer.lmcache;

import java.io.Closeable;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// One place where chunks are kept. Every call ends within the tier's timeout; one that fails says so by an
/// exception, and its caller goes on without this tier.
///
/// Thread-safe.
interface Tier extends Closeable {
    /// For the log and the start banner.
    String name();

    boolean contains(String key) throws IOException;

    /// Reads a chunk.
    ///
    /// @param expected what it must be
    /// @param target takes its bytes; holds anything if this does not return true
    /// @return whether it is there
    /// @throws BadChunkException if what is there is something else, or damaged
    /// @throws IllegalArgumentException if the tier takes no such key
    boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException;

    /// Keeps a chunk, if there is room.
    ///
    /// @param chunk its bytes, as many as the head says
    void put(String key, ChunkHead head, MemorySegment chunk) throws IOException;

    /// Chunks that were used just now, those to be evicted last at the end.
    default void touch(List<String> keys) {}

    /// Ends what others wait for: calls under way and later ones fail within moments. The tier's memory stays.
    default void disconnect() {}

    /// Gives everything back; nobody uses the tier any more.
    @Override
    void close();
}
