package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.tensor.DType;
import dev.baton.tensor.PagedKv;
import dev.baton.transfer.TransferException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ChunkLayoutTest {
    private static final int LAYERS = 3;
    private static final int KV_HEADS = 2;
    private static final int HEAD_DIM = 4;

    private static KvCacheSpec spec(int blockTokens) {
        return new KvCacheSpec("m", "float32", 4, LAYERS, KV_HEADS, HEAD_DIM, blockTokens, 8);
    }

    private static PagedKv pool(int blockTokens) {
        return new PagedKv(8, LAYERS, KV_HEADS, blockTokens, HEAD_DIM, DType.F32);
    }

    /// A number that says where it belongs.
    private static float mark(int token, int side, int layer, int head, int element) {
        return (((token * 2 + side) * LAYERS + layer) * KV_HEADS + head) * HEAD_DIM + element;
    }

    private static long offset(PagedKv pool, int block, int slot, int side, int layer, int head) {
        long start = side == 0 ? pool.keyOffsetBytes(block, layer, head) : pool.valueOffsetBytes(block, layer, head);
        return start + (long) slot * HEAD_DIM * 4;
    }

    @ParameterizedTest
    @CsvSource({"1, 4", "4, 4", "4, 16", "8, 16"})
    void chunkIsKeysThenValuesByLayerTokenAndHead(int blockTokens, int chunkTokens) {
        try (PagedKv pool = pool(blockTokens);
                PagedKv other = pool(blockTokens);
                Arena arena = Arena.ofConfined()) {
            ChunkLayout layout = new ChunkLayout(spec(blockTokens), pool, chunkTokens);
            ChunkLayout otherLayout = new ChunkLayout(spec(blockTokens), other, chunkTokens);
            int rows = Math.min(chunkTokens, 8 * blockTokens);
            assertThat(layout.head(rows))
                    .isEqualTo(new ChunkHead(
                            2 * LAYERS * rows * KV_HEADS * HEAD_DIM * 4, 1, 4, 2, LAYERS, rows, KV_HEADS * HEAD_DIM));
            MemorySegment chunk = arena.allocate(layout.head(rows).lengthBytes());
            for (int token = 0; token < rows; token++) {
                for (int side = 0; side < 2; side++) {
                    for (int layer = 0; layer < LAYERS; layer++) {
                        for (int head = 0; head < KV_HEADS; head++) {
                            for (int e = 0; e < HEAD_DIM; e++) {
                                int block = 7 - token / blockTokens;
                                long at = offset(pool, block, token % blockTokens, side, layer, head) + 4L * e;
                                pool.segment().set(ValueLayout.JAVA_FLOAT, at, mark(token, side, layer, head, e));
                            }
                        }
                    }
                }
            }
            for (int token = 0; token < rows; token += blockTokens) {
                layout.save(7 - token / blockTokens, 0, Math.min(blockTokens, rows - token), chunk, token, rows);
            }
            int index = 0;
            for (int side = 0; side < 2; side++) {
                for (int layer = 0; layer < LAYERS; layer++) {
                    for (int token = 0; token < rows; token++) {
                        for (int head = 0; head < KV_HEADS; head++) {
                            for (int e = 0; e < HEAD_DIM; e++) {
                                assertThat(chunk.getAtIndex(ValueLayout.JAVA_FLOAT, index++))
                                        .isEqualTo(mark(token, side, layer, head, e));
                            }
                        }
                    }
                }
            }
            for (int token = 0; token < rows; token++) { // token by token, as partial blocks need it
                otherLayout.load(7 - token / blockTokens, token % blockTokens, 1, chunk, token, rows);
            }
            assertThat(other.segment().mismatch(pool.segment())).isEqualTo(-1);
        }
    }

    @Test
    void chunkThatIsNotWholeBlocksIsRefused() {
        try (PagedKv pool = pool(16)) {
            assertThatThrownBy(() -> new ChunkLayout(spec(16), pool, 100))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("chunk_size is 100")
                    .hasMessageContaining("--block-size 16");
        }
    }

    @Test
    void chunkThatIsTooLongIsRefused() {
        try (PagedKv pool = pool(1)) {
            assertThatThrownBy(() -> new ChunkLayout(spec(1), pool, 1 << 28))
                    .isInstanceOf(TransferException.class)
                    .hasMessageContaining("lower chunk_size");
        }
    }
}
