package dev.baton.transfer.store;

import java.io.IOException;
import java.util.List;
import java.util.function.IntConsumer;

/// A place where blocks are kept under names.
///
/// A block's name says what its tokens and all tokens before them are, so equal names mean equal blocks. Names are
/// asked for as a list and an index, because a list may be one that is worked out when it is first read.
///
/// Thread-safe. What says so is called by the engine's thread and does no I/O.
///
/// @param <K> the name of a block
public interface BlockStore<K> {
    /// The names of the full blocks of `tokenIds[0 .. numTokens)`, in order. Engine thread.
    ///
    /// @param tokenIds not to be changed any more
    List<K> names(int[] tokenIds, int numTokens);

    /// Whether a load may bring that block. Engine thread.
    boolean mayHave(List<K> names, int index);

    /// Whether [#mayHave] may say yes without knowing, so that only a load finds out.
    boolean asks();

    /// Whether that block need not be saved. Engine thread.
    boolean isKept(List<K> names, int index);

    /// Brings blocks in order, until one is not there or is not what it should be.
    ///
    /// @param target takes them, each once
    /// @throws IOException if the store fails; what the target has taken counts
    void load(List<K> names, Blocks target) throws IOException;

    /// Keeps blocks, in order. Blocks that are there already need not be read.
    ///
    /// @throws IOException if the store fails
    void save(List<K> names, Blocks source) throws IOException;

    /// Bytes of blocks kept so far.
    long bytesSaved();

    /// Blocks so far that were not what they should be.
    long numBadBlocks();

    /// The blocks of the pool that are to be written or read, as long as they may be.
    @FunctionalInterface
    interface Blocks {
        /// Runs `copy` with the number of the pool's block for a name; it must return soon.
        ///
        /// @return false if it did not run: the blocks belong to others by now, and nothing more is to be done
        boolean visit(int index, IntConsumer copy);
    }
}
