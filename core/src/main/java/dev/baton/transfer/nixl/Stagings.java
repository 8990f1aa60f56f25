package dev.baton.transfer.nixl;

import dev.baton.tensor.OffHeap;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Optional;

/// Memory that vLLM engines' blocks are read into, in [#PIECES] pieces, one for each load that is under way.
/// Allocated and registered when it is first needed. Owned by the worker's thread.
final class Stagings implements AutoCloseable {
    static final int PIECES = 4;

    private final long pieceBytes;
    private final Arena arena = Arena.ofShared();
    private final Deque<MemorySegment> free = new ArrayDeque<>();
    private boolean allocated;

    Stagings(long bytes) {
        this.pieceBytes = Math.ceilDiv(bytes, PIECES);
    }

    /// A piece of its own for a load; empty if all are in use.
    ///
    /// @param agent reads into it
    Optional<MemorySegment> take(NixlAgent agent) {
        if (!allocated) {
            MemorySegment all = OffHeap.allocate(arena, pieceBytes * PIECES);
            agent.register(all);
            for (int i = 0; i < PIECES; i++) {
                free.add(all.asSlice(i * pieceBytes, pieceBytes));
            }
            allocated = true;
        }
        return Optional.ofNullable(free.pollFirst());
    }

    void giveBack(MemorySegment piece) {
        free.addLast(piece);
    }

    /// To be called once the agent has ended.
    @Override
    public void close() {
        arena.close();
    }
}
