package dev.baton.transfer.nixl;

import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.baton.tensor.PagedKv;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/// How one layer's part of a vLLM block lies in memory, keys and values of some tokens, and the copies between it
/// and the pool. Stateless, thread-safe.
///
/// @param order how keys and values lie in it
/// @param blockTokens tokens in it
/// @param kvHeads heads in it, as in the pool
/// @param headDim as in the pool
/// @param elementBytes 2 or 4
record VllmBlock(Order order, int blockTokens, int kvHeads, int headDim, int elementBytes) {
    /// Orders that vLLM 0.32 uses.
    enum Order {
        /// `(kvHeads, blockTokens, 2, headDim)`, vLLM's layout LBHNC.
        HEAD_MAJOR,
        /// `(blockTokens, kvHeads, 2, headDim)`, vLLM's layout LBNHC.
        TOKEN_MAJOR,
        /// For each head keys as `(headDim, blockTokens)`, then values as `(blockTokens, headDim)`: what vLLM's CPU
        /// attention makes of LBHNC where it works with vector instructions.
        CPU_VECTOR
    }

    static VllmBlock of(Order order, int blockTokens, PagedKv pool) {
        return new VllmBlock(
                order, blockTokens, pool.kvHeads(), pool.headDim(), pool.dtype().bytes());
    }

    /// Bytes of the part.
    long bytes() {
        return 2L * kvHeads * blockTokens * headDim * elementBytes;
    }

    private long rowBytes() {
        return (long) headDim * elementBytes;
    }

    /// Copies tokens from here into a block of the pool, or of memory with blocks of its shape.
    ///
    /// @param at where the part begins in `from`
    /// @param token the first one, in this part
    /// @param pool says how a block lies in `to`
    /// @param block its number in `to`
    /// @param poolToken where the tokens go in it
    void read(
            MemorySegment from,
            long at,
            int token,
            int numTokens,
            PagedKv pool,
            MemorySegment to,
            int block,
            int layer,
            int poolToken) {
        for (int head = 0; head < kvHeads; head++) {
            long keys = pool.keyOffsetBytes(block, layer, head) + poolToken * rowBytes();
            long values = pool.valueOffsetBytes(block, layer, head) + poolToken * rowBytes();
            if (order == Order.CPU_VECTOR) {
                long part = at + 2L * head * blockTokens * rowBytes();
                readColumns(from, part, token, numTokens, to, keys);
                long first = part + (long) (blockTokens + token) * rowBytes();
                MemorySegment.copy(from, first, to, values, numTokens * rowBytes());
            } else {
                for (int i = 0; i < numTokens; i++) {
                    long row = at + rowOffset(head, token + i);
                    MemorySegment.copy(from, row, to, keys + i * rowBytes(), rowBytes());
                    MemorySegment.copy(from, row + rowBytes(), to, values + i * rowBytes(), rowBytes());
                }
            }
        }
    }

    /// Copies tokens from a block of the pool to here; not for [Order#CPU_VECTOR].
    void write(PagedKv pool, int block, int layer, int poolToken, int numTokens, MemorySegment to, long at, int token) {
        MemorySegment from = pool.segment();
        for (int head = 0; head < kvHeads; head++) {
            long keys = pool.keyOffsetBytes(block, layer, head) + poolToken * rowBytes();
            long values = pool.valueOffsetBytes(block, layer, head) + poolToken * rowBytes();
            for (int i = 0; i < numTokens; i++) {
                long row = at + rowOffset(head, token + i);
                MemorySegment.copy(from, keys + i * rowBytes(), to, row, rowBytes());
                MemorySegment.copy(from, values + i * rowBytes(), to, row + rowBytes(), rowBytes());
            }
        }
    }

    /// Zeroes tokens; not for [Order#CPU_VECTOR].
    void clear(MemorySegment to, long at, int token, int numTokens) {
        for (int head = 0; head < kvHeads; head++) {
            for (int i = token; i < token + numTokens; i++) {
                to.asSlice(at + rowOffset(head, i), 2 * rowBytes()).fill((byte) 0);
            }
        }
    }

    private long rowOffset(int head, int token) {
        long row = order == Order.HEAD_MAJOR ? (long) head * blockTokens + token : (long) token * kvHeads + head;
        return 2 * row * rowBytes();
    }

    /// Keys that lie side by side for each of their dimensions become rows.
    private void readColumns(MemorySegment from, long at, int token, int numTokens, MemorySegment to, long toAt) {
        for (int dim = 0; dim < headDim; dim++) {
            long column = at + ((long) dim * blockTokens + token) * elementBytes;
            long cell = toAt + (long) dim * elementBytes;
            if (elementBytes == Short.BYTES) {
                for (int i = 0; i < numTokens; i++) {
                    short element = from.get(JAVA_SHORT_UNALIGNED, column + 2L * i);
                    to.set(JAVA_SHORT_UNALIGNED, cell + i * rowBytes(), element);
                }
            } else {
                for (int i = 0; i < numTokens; i++) {
                    int element = from.get(JAVA_INT_UNALIGNED, column + 4L * i);
                    to.set(JAVA_INT_UNALIGNED, cell + i * rowBytes(), element);
                }
            }
        }
    }

    @Override
    public String toString() {
        return "%s, %d tokens a block".formatted(order.name().toLowerCase(Locale.ROOT), blockTokens);
    }
}
