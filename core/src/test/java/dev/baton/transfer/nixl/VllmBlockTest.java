package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class VllmBlockTest {
    private static final int LAYERS = 3;
    private static final int HEADS = 2;
    private static final int DIM = 8;

    /// The value that a place holds in these tests: different for every one.
    private static int value(int token, int layer, int head, int dim, boolean key) {
        return (((token * LAYERS + layer) * HEADS + head) * DIM + dim) * 2 + (key ? 0 : 1);
    }

    /// Where vLLM has an element, written out from its tensors' shapes.
    private static int index(VllmBlock.Order order, int tokens, int token, int head, int dim, boolean key) {
        return switch (order) {
            case HEAD_MAJOR -> ((head * tokens + token) * 2 + (key ? 0 : 1)) * DIM + dim;
            case TOKEN_MAJOR -> ((token * HEADS + head) * 2 + (key ? 0 : 1)) * DIM + dim;
            case CPU_VECTOR ->
                head * 2 * tokens * DIM + (key ? dim * tokens + token : tokens * DIM + token * DIM + dim);
        };
    }

    @ParameterizedTest
    @EnumSource(VllmBlock.Order.class)
    void everyElementOfTheTokensComesToItsPlace(VllmBlock.Order order) {
        int tokens = 32;
        try (PagedKv pool = new PagedKv(2, LAYERS, HEADS, 16, DIM, DType.F32);
                Arena arena = Arena.ofConfined()) {
            VllmBlock part = VllmBlock.of(order, tokens, pool);
            MemorySegment block = arena.allocate(64 + part.bytes());
            for (int token = 0; token < tokens; token++) {
                for (int head = 0; head < HEADS; head++) {
                    for (int dim = 0; dim < DIM; dim++) {
                        for (boolean key : new boolean[] {true, false}) {
                            long at = 64 + 4L * index(order, tokens, token, head, dim, key);
                            block.set(ValueLayout.JAVA_INT, at, value(token, 1, head, dim, key));
                        }
                    }
                }
            }
            part.read(block, 64, 11, 9, pool, pool.segment(), 1, 1, 5);
            for (int i = 0; i < 16; i++) {
                for (int head = 0; head < HEADS; head++) {
                    for (int dim = 0; dim < DIM; dim++) {
                        boolean read = i >= 5 && i < 14;
                        long at = 4L * (i * DIM + dim);
                        assertThat(pool.segment().get(ValueLayout.JAVA_INT, pool.keyOffsetBytes(1, 1, head) + at))
                                .isEqualTo(read ? value(i + 6, 1, head, dim, true) : 0);
                        assertThat(pool.segment().get(ValueLayout.JAVA_INT, pool.valueOffsetBytes(1, 1, head) + at))
                                .isEqualTo(read ? value(i + 6, 1, head, dim, false) : 0);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({
        "16,32,100,1000",
        "16,128,1,1000",
        "16,128,128,64",
        "16,128,129,16",
        "32,16,65,7",
        "24,32,90,33",
        "16,32,100,1"
    })
    void whatTheMirrorShowsIsWhatThePoolHolds(int poolTokens, int mirrorTokens, int numTokens, int chunkTokens) {
        int numBlocks = 16;
        try (PagedKv pool = new PagedKv(numBlocks, LAYERS, HEADS, poolTokens, DIM, DType.BF16);
                PagedKv copy = new PagedKv(numBlocks, LAYERS, HEADS, poolTokens, DIM, DType.BF16);
                Mirror mirror = new Mirror(pool, mirrorTokens, 8)) {
            Random random = new Random(numTokens);
            for (long i = 0; i < pool.segment().byteSize(); i += 2) {
                pool.segment().set(ValueLayout.JAVA_SHORT, i, (short) random.nextInt());
            }
            mirror.segment().fill((byte) -1);
            int[] blocks = new int[Math.ceilDiv(numTokens, poolTokens)];
            for (int i = 0; i < blocks.length; i++) {
                blocks[i] = numBlocks - 1 - i;
            }
            int[] others = new int[blocks.length]; // before it was preempted
            mirror.copy("r", others, numTokens / 2);
            mirror.restart("r");
            for (int done = chunkTokens; done < numTokens; done += chunkTokens) {
                mirror.copy("r", Arrays.copyOf(blocks, Math.ceilDiv(done, poolTokens)), done);
            }
            int[] shown = mirror.fill("r", blocks, numTokens).orElseThrow();
            mirror.discard("r"); // not what others may read
            assertThat(mirror.fill("r", blocks, numTokens)).isEmpty();
            assertThat(shown).hasSize(Math.ceilDiv(numTokens, mirrorTokens));

            VllmBlock part = VllmBlock.of(VllmBlock.Order.HEAD_MAJOR, mirrorTokens, pool);
            for (int layer = 0; layer < LAYERS; layer++) {
                for (int token = 0; token < numTokens; token++) {
                    long at = mirror.base(layer)
                            - mirror.segment().address()
                            + shown[token / mirrorTokens] * mirror.partBytes();
                    part.read(
                            mirror.segment(),
                            at,
                            token % mirrorTokens,
                            1,
                            copy,
                            copy.segment(),
                            blocks[token / poolTokens],
                            layer,
                            token % poolTokens);
                }
                for (int token = 0; token < numTokens; token++) {
                    for (int head = 0; head < HEADS; head++) {
                        long key = pool.keyOffsetBytes(blocks[token / poolTokens], layer, head)
                                + token % poolTokens * pool.headTokenBytes();
                        long value = pool.valueOffsetBytes(blocks[token / poolTokens], layer, head)
                                + token % poolTokens * pool.headTokenBytes();
                        for (long at : new long[] {key, value}) {
                            assertThat(copy.segment()
                                            .asSlice(at, pool.headTokenBytes())
                                            .mismatch(pool.segment().asSlice(at, pool.headTokenBytes())))
                                    .isEqualTo(-1);
                        }
                    }
                }
            }
            mirror.free("r");
            assertThat(mirror.numFree()).isEqualTo(8);
        }
    }

    @ParameterizedTest
    @CsvSource({"129", "1000"})
    void aMirrorWithoutRoomHoldsNothing(int numTokens) {
        try (PagedKv pool = new PagedKv(64, LAYERS, HEADS, 16, DIM, DType.BF16);
                Mirror mirror = new Mirror(pool, 128, 1)) {
            assertThat(mirror.fill("r", new int[64], numTokens)).isEmpty();
            assertThat(mirror.numFree()).isEqualTo(1);
            assertThat(mirror.fill("r", new int[64], 128)).isPresent();
            assertThat(mirror.fill("r", new int[64], 1)).isEmpty();
            mirror.free("r");
            mirror.copy("s", new int[64], 100);
            assertThat(mirror.numFree()).isZero();
            mirror.discard("s");
            assertThat(mirror.numFree()).isEqualTo(1);
        }
    }
}
