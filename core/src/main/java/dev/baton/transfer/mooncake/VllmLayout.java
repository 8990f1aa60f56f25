package dev.baton.transfer.mooncake;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.TransferException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Locale;

/// How vLLM lays out one block of one layer, which its metadata does not say: vLLM 0.32 keeps all KV heads of a
/// block together, but each attention backend has its own inside of a head. Read off its attention backends.
/// Stateless.
public enum VllmLayout {
    /// `(kvHeads, blockTokens, 2, headDim)`: a token's key, then its value. FlashAttention, Triton.
    INTERLEAVED {
        @Override
        void copyHead(PagedKv pool, long keys, long values, MemorySegment image, long at, boolean toImage) {
            long row = pool.headTokenBytes();
            for (int token = 0; token < pool.blockTokens(); token++) {
                copy(pool, keys + token * row, image, at + 2L * token * row, row, toImage);
                copy(pool, values + token * row, image, at + (2L * token + 1) * row, row, toImage);
            }
        }
    },

    /// For each head `(headDim, blockTokens)` keys, then `(blockTokens, headDim)` values. CPU attention without
    /// AMX.
    CPU {
        @Override
        void copyHead(PagedKv pool, long keys, long values, MemorySegment image, long at, boolean toImage) {
            long half = pool.blockTokens() * pool.headTokenBytes();
            transpose(pool, keys, image, at, toImage);
            copy(pool, values, image, at + half, half, toImage);
        }
    };

    /// The layout of a name, in small letters or large ones.
    ///
    /// @throws TransferException if there is none of that name
    public static VllmLayout of(String name) {
        return Arrays.stream(values())
                .filter(each -> each.name().equals(name.toUpperCase(Locale.ROOT)))
                .findFirst()
                .orElseThrow(() -> new TransferException(
                        "kv_connector_extra_config: vllm_kv_layout is %s; needed: interleaved or cpu".formatted(name)));
    }

    /// Bytes of one block of one layer.
    public static long imageBytes(PagedKv pool) {
        return pool.blockBytes() / pool.layers();
    }

    /// Writes one block of one layer as vLLM has it.
    public void toImage(PagedKv pool, int block, int layer, MemorySegment image) {
        copy(pool, block, layer, image, true);
    }

    /// Reads one block of one layer from what vLLM wrote.
    public void fromImage(MemorySegment image, PagedKv pool, int block, int layer) {
        copy(pool, block, layer, image, false);
    }

    private void copy(PagedKv pool, int block, int layer, MemorySegment image, boolean toImage) {
        long headBytes = imageBytes(pool) / pool.kvHeads();
        for (int head = 0; head < pool.kvHeads(); head++) {
            copyHead(
                    pool,
                    pool.keyOffsetBytes(block, layer, head),
                    pool.valueOffsetBytes(block, layer, head),
                    image,
                    head * headBytes,
                    toImage);
        }
    }

    /// @param keys where the head's keys begin in the pool
    /// @param values where its values begin there
    /// @param at where the head begins in the image
    abstract void copyHead(PagedKv pool, long keys, long values, MemorySegment image, long at, boolean toImage);

    private static void copy(PagedKv pool, long offset, MemorySegment image, long at, long bytes, boolean toImage) {
        if (toImage) {
            MemorySegment.copy(pool.segment(), offset, image, at, bytes);
        } else {
            MemorySegment.copy(image, at, pool.segment(), offset, bytes);
        }
    }

    private static void transpose(PagedKv pool, long offset, MemorySegment image, long at, boolean toImage) {
        MemorySegment memory = pool.segment();
        int bytes = pool.dtype().bytes();
        for (int token = 0; token < pool.blockTokens(); token++) {
            for (int d = 0; d < pool.headDim(); d++) {
                long ours = offset + ((long) token * pool.headDim() + d) * bytes;
                long theirs = at + ((long) d * pool.blockTokens() + token) * bytes;
                if (bytes == Short.BYTES) {
                    if (toImage) {
                        image.set(SHORT, theirs, memory.get(SHORT, ours));
                    } else {
                        memory.set(SHORT, ours, image.get(SHORT, theirs));
                    }
                } else if (toImage) {
                    image.set(INT, theirs, memory.get(INT, ours));
                } else {
                    memory.set(INT, ours, image.get(INT, theirs));
                }
            }
        }
    }

    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
}
