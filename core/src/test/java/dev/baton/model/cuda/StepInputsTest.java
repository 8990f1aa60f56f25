package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.model.ForwardBatch;
import dev.baton.tensor.cuda.CudaOps;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class StepInputsTest {
    private static final int BLOCK_TOKENS = 16;
    private static final int MAX_BLOCKS = 4;

    private final MemorySegment buffer = Arena.ofAuto().allocate(1 << 16, 16);
    private final StepInputs inputs = new StepInputs(buffer, 128, BLOCK_TOKENS);

    private int[] ints(long offset, int count) {
        return buffer.asSlice(offset, 4L * count).toArray(ValueLayout.JAVA_INT);
    }

    private static int[] tokens(int from) {
        int[] tokens = new int[64];
        java.util.Arrays.setAll(tokens, i -> from + i);
        return tokens;
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 1, 1", "3, 2, 1, 7", "64, 64, 64, 64", "65, 33, 5, 129"})
    void arraysAreAlignedAndDoNotOverlap(int rows, int sequences, int wanted, int maxBlocks) {
        StepLayout layout = new StepLayout(rows, sequences, wanted, maxBlocks);
        long[] starts = {
            layout.tokens(),
            layout.positions(),
            layout.rowSequence(),
            layout.contextTokens(),
            layout.queryStart(),
            layout.wantedRows(),
            layout.blockTables(),
            layout.bytes()
        };
        long[] counts = {rows, rows, rows, sequences, sequences + 1, wanted, (long) sequences * maxBlocks};
        for (int i = 0; i < counts.length; i++) {
            assertThat(starts[i] % 16).isZero();
            assertThat(starts[i + 1]).isGreaterThanOrEqualTo(starts[i] + 4 * counts[i]);
        }
    }

    @Test
    void sequencesWithOneRowComeFirstAndWantedRowsKeepTheBatchsOrder() {
        ForwardBatch batch = new ForwardBatch(128, 8);
        batch.add(tokens(100), 17, 3, new int[] {5, 6}, true);
        batch.add(tokens(200), 40, 1, new int[] {7, 8, 9}, true);
        batch.add(tokens(300), 0, 2, new int[] {3}, false);
        batch.add(tokens(400), 15, 1, new int[] {4, 99}, true);
        StepLayout layout = new StepLayout(7, 4, 3, MAX_BLOCKS);
        inputs.write(batch, layout);
        assertThat(inputs.singles()).isEqualTo(2);
        assertThat(inputs.prompts(layout)).isEqualTo(new CudaOps.Prompts(2, 2, 5, 3, 20));
        assertThat(ints(layout.tokens(), 7)).containsExactly(240, 415, 117, 118, 119, 300, 301);
        assertThat(ints(layout.positions(), 7)).containsExactly(40, 15, 17, 18, 19, 0, 1);
        assertThat(ints(layout.rowSequence(), 7)).containsExactly(0, 1, 2, 2, 2, 3, 3);
        assertThat(ints(layout.contextTokens(), 4)).containsExactly(41, 16, 20, 2);
        assertThat(ints(layout.queryStart(), 5)).containsExactly(0, 1, 2, 5, 7);
        assertThat(ints(layout.wantedRows(), 3)).containsExactly(4, 0, 1);
        assertThat(ints(layout.blockTables(), 3)).containsExactly(7, 8, 9);
        assertThat(ints(layout.blockTables() + 4L * MAX_BLOCKS, 1)).containsExactly(4);
        assertThat(ints(layout.blockTables() + 8L * MAX_BLOCKS, 2)).containsExactly(5, 6);
        assertThat(ints(layout.blockTables() + 12L * MAX_BLOCKS, 1)).containsExactly(3);
    }

    @Test
    void paddingStoresNothingAndSeesNothing() {
        buffer.fill((byte) 0x55);
        ForwardBatch batch = new ForwardBatch(8, 8);
        batch.add(tokens(10), 5, 1, new int[] {2}, true);
        batch.add(tokens(20), 6, 1, new int[] {3}, true);
        batch.add(tokens(30), 7, 1, new int[] {1}, true);
        StepLayout layout = new StepLayout(4, 4, 4, MAX_BLOCKS);
        inputs.write(batch, layout);
        assertThat(inputs.singles()).isEqualTo(3);
        assertThat(ints(layout.tokens(), 4)).containsExactly(15, 26, 37, 0);
        assertThat(ints(layout.positions(), 4)).containsExactly(5, 6, 7, -1);
        assertThat(ints(layout.contextTokens(), 4)).containsExactly(6, 7, 8, 0);
        assertThat(ints(layout.queryStart(), 5)).containsExactly(0, 1, 2, 3, 3);
        assertThat(ints(layout.wantedRows(), 4)).containsExactly(0, 1, 2, 0);
    }
}
