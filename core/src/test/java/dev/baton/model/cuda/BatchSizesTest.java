package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class BatchSizesTest {
    @Test
    void decodeStepsArePaddedToPowersOfTwoAndThenToEights() {
        assertThat(IntStream.of(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256)
                        .map(BatchSizes::decode))
                .containsExactly(1, 2, 4, 4, 8, 8, 8, 16, 16, 16, 24, 64, 64, 72, 256, 256);
    }

    @Test
    void everyStepFindsItsGraph() {
        for (int max : new int[] {1, 2, 3, 7, 8, 9, 64, 100, 256}) {
            List<Integer> sizes = BatchSizes.allDecode(max);
            for (int sequences = 1; sequences <= max; sequences++) {
                assertThat(sizes).contains(BatchSizes.decode(sequences));
                assertThat(BatchSizes.decode(sequences)).isGreaterThanOrEqualTo(sequences);
            }
        }
    }

    @Test
    void everyChunkHasAMeasuredSizeNotBelowIt() {
        for (int max : new int[] {16, 64, 65, 256, 2048, 8192}) {
            List<Integer> sizes = BatchSizes.measuredChunks(max);
            assertThat(sizes).isSorted().doesNotHaveDuplicates();
            assertThat(sizes.getLast()).isEqualTo(BatchSizes.rows(max));
        }
        assertThat(IntStream.of(1, 3, 64, 65, 128, 129, 7500).map(BatchSizes::rows))
                .containsExactly(1, 4, 64, 128, 128, 192, 7552);
    }
}
