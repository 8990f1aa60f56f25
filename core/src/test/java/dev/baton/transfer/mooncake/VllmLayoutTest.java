package dev.baton.transfer.mooncake;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class VllmLayoutTest {
    private static final int HEADS = 3;
    private static final int TOKENS = 32;
    private static final int DIM = 8;

    @ParameterizedTest
    @CsvSource({"INTERLEAVED, F32", "INTERLEAVED, BF16", "CPU, F32", "CPU, BF16"})
    void everyElementLiesWhereVllmHasIt(VllmLayout layout, DType type) {
        int bytes = type.bytes();
        try (PagedKv pool = new PagedKv(4, 2, HEADS, TOKENS, DIM, type);
                Arena arena = Arena.ofConfined()) {
            fill(pool.segment());
            MemorySegment image = arena.allocate(VllmLayout.imageBytes(pool));
            layout.toImage(pool, 2, 1, image);
            for (int head = 0; head < HEADS; head++) {
                for (int token = 0; token < TOKENS; token++) {
                    for (int d = 0; d < DIM; d++) {
                        // The indexes of vLLM's tensors, spelled out.
                        long key = switch (layout) {
                            case INTERLEAVED -> ((head * TOKENS + token) * 2L) * DIM + d;
                            case CPU -> head * 2L * TOKENS * DIM + (long) d * TOKENS + token;
                        };
                        long value = switch (layout) {
                            case INTERLEAVED -> ((head * TOKENS + token) * 2L + 1) * DIM + d;
                            case CPU -> (head * 2L + 1) * TOKENS * DIM + (long) token * DIM + d;
                        };
                        long within = ((long) token * DIM + d) * bytes;
                        assertThat(element(image, key * bytes, bytes))
                                .isEqualTo(element(pool.segment(), pool.keyOffsetBytes(2, 1, head) + within, bytes));
                        assertThat(element(image, value * bytes, bytes))
                                .isEqualTo(element(pool.segment(), pool.valueOffsetBytes(2, 1, head) + within, bytes));
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void whatWasWrittenIsReadBack(VllmLayout layout) {
        try (PagedKv from = new PagedKv(2, 2, HEADS, TOKENS, DIM, DType.BF16);
                PagedKv to = new PagedKv(2, 2, HEADS, TOKENS, DIM, DType.BF16);
                Arena arena = Arena.ofConfined()) {
            fill(from.segment());
            MemorySegment image = arena.allocate(VllmLayout.imageBytes(from));
            for (int block = 0; block < 2; block++) {
                for (int layer = 0; layer < 2; layer++) {
                    layout.toImage(from, block, layer, image);
                    layout.fromImage(image, to, block, layer);
                }
            }
            assertThat(to.segment().mismatch(from.segment())).isEqualTo(-1);
        }
    }

    private static void fill(MemorySegment memory) {
        byte[] noise = new byte[(int) memory.byteSize()];
        new Random(1).nextBytes(noise);
        memory.copyFrom(MemorySegment.ofArray(noise));
    }

    private static int element(MemorySegment memory, long offset, int bytes) {
        return bytes == Short.BYTES
                ? memory.get(ValueLayout.JAVA_SHORT_UNALIGNED, offset)
                : memory.get(ValueLayout.JAVA_INT_UNALIGNED, offset);
    }
}
