package dev.baton.transfer.mooncakestore;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// A client of a Mooncake cluster, and memory that values are put from and read into.
///
/// Results are Mooncake's numbers: negative ones are errors, see [StoreErrors]. Thread-safe for pieces of
/// memory that do not overlap. Every call ends within the client's deadline.
interface ObjectStore extends AutoCloseable {
    /// A value and its place in the memory.
    ///
    /// @param length of the value that is put; the most that is read
    record Piece(String key, long offset, long length) {}

    /// The memory; of no use after [#close].
    MemorySegment memory();

    /// For each key 1 if there is a value.
    long[] exist(List<String> keys) throws IOException;

    /// Puts values; 0 for each that is there now, also if it was before.
    long[] put(List<Piece> pieces) throws IOException;

    /// Reads values; the length of each.
    long[] get(List<Piece> pieces) throws IOException;

    /// Makes calls under way fail soon, where that is possible.
    void abort();

    /// Ends it; nobody may be calling.
    @Override
    void close();

    /// Makes clients of one kind.
    interface Opener {
        /// A new client.
        ///
        /// @param memoryBytes how much memory it shall have
        /// @throws IOException if the cluster cannot be reached
        ObjectStore open(long memoryBytes) throws IOException;

        /// What speaks to the cluster, in words.
        String describe();

        /// Whether it can put values.
        boolean writes();
    }
}
