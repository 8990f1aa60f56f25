package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.transfer.tcp.Announced.Piece;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AnnouncedTest {
    /// Llama-3.1-8B's: half a MiB a layer of a block.
    private static final KvCacheSpec LARGE = new KvCacheSpec("m", "bfloat16", 2, 32, 8, 128, 128, 1_000);

    private static final KvCacheSpec SMALL = new KvCacheSpec("m", "bfloat16", 2, 4, 1, 16, 16, 1_000);

    /// As if layer after layer of a prompt's step were computed.
    private static List<Piece> pieces(KvCacheSpec spec, Announced announced, int before, int after) {
        List<Piece> pieces = new ArrayList<>();
        int[] whole = new int[spec.layers()];
        Arrays.fill(whole, before);
        for (int layer = -1; layer < spec.layers(); layer++) {
            if (layer >= 0) {
                whole[layer] = after;
            }
            for (Optional<Piece> next = announced.next(whole); next.isPresent(); next = announced.next(whole)) {
                announced.said(next.get());
                pieces.add(next.get());
            }
        }
        return pieces;
    }

    @Test
    void aPromptOfOneStepIsSaidInEighthsAndTheLastLayerByItself() {
        assertThat(pieces(LARGE, new Announced(LARGE, 0, 59), 0, 58))
                .containsExactly(
                        new Piece(0, 4, 0, 58),
                        new Piece(4, 8, 0, 58),
                        new Piece(8, 12, 0, 58),
                        new Piece(12, 16, 0, 58),
                        new Piece(16, 20, 0, 58),
                        new Piece(20, 24, 0, 58),
                        new Piece(24, 28, 0, 58),
                        new Piece(28, 31, 0, 58),
                        new Piece(31, 32, 0, 58));
    }

    @Test
    void whatThePrefillersCacheHasIsSaidAtOnceAndTheRestAsItIsComputed() {
        Announced announced = new Announced(LARGE, 3, 40);
        List<Piece> pieces = pieces(LARGE, announced, 10, 20);
        assertThat(pieces.getFirst()).isEqualTo(new Piece(0, 32, 3, 10));
        assertThat(pieces.get(1)).isEqualTo(new Piece(0, 4, 10, 20));
        assertThat(pieces(LARGE, announced, 20, 39)).allMatch(piece -> piece.firstBlock() == 20);
        assertThat(announced.next(new int[32])).isEmpty();
    }

    @Test
    void littleIsSaidOnce() {
        assertThat(pieces(SMALL, new Announced(SMALL, 0, 9), 0, 9)).containsExactly(new Piece(0, 4, 0, 9));
    }

    @Test
    void aFrameHoldsEveryPiece() {
        int blocks = 3 * Limits.MAX_PULL_BLOCKS;
        assertThat(pieces(SMALL, new Announced(SMALL, 0, blocks), 0, blocks))
                .hasSizeGreaterThanOrEqualTo(3)
                .allMatch(piece -> piece.endBlock() - piece.firstBlock() <= Limits.MAX_PULL_BLOCKS);
    }

    @Test
    void whatWasTakenAwayIsSaidAgain() {
        Announced announced = new Announced(SMALL, 0, 9);
        assertThat(announced.isVoid(1)).as("nothing was said").isFalse();
        assertThat(pieces(SMALL, announced, 0, 9)).hasSize(1);
        assertThat(announced.isOld(2)).isTrue();
        assertThat(announced.isVoid(2)).isTrue();
        assertThat(announced.isVoid(2)).isFalse();
        assertThat(pieces(SMALL, announced, 0, 9)).hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void everyLayerOfEveryBlockIsSaidOnceAndInOrderHoweverLateSomebodyLooks(long seed) {
        Random random = new Random(seed);
        for (int round = 0; round < 200; round++) {
            KvCacheSpec spec = random.nextBoolean() ? LARGE : SMALL;
            int end = 1 + random.nextInt(200);
            int first = random.nextInt(end);
            Announced announced = new Announced(spec, first, end);
            int[] said = new int[end];
            int[] whole = new int[spec.layers()];
            int chunk = 0;
            while (chunk < end || whole[spec.layers() - 1] < end) {
                if (whole[spec.layers() - 1] == chunk) {
                    chunk = Math.min(end, chunk + 1 + random.nextInt(80));
                }
                int layers = 1 + random.nextInt(spec.layers());
                for (int layer = 0; layer < layers; layer++) {
                    whole[layer] = Math.max(whole[layer], chunk);
                }
                for (Optional<Piece> next = announced.next(whole); next.isPresent(); next = announced.next(whole)) {
                    Piece piece = next.get();
                    for (int block = piece.firstBlock(); block < piece.endBlock(); block++) {
                        assertThat(said[block]).isEqualTo(piece.firstLayer());
                        assertThat(whole[piece.endLayer() - 1]).isGreaterThan(block);
                        said[block] = piece.endLayer();
                    }
                    announced.said(piece);
                }
            }
            assertThat(Arrays.stream(said).skip(first)).allMatch(layers -> layers == spec.layers());
        }
    }
}
