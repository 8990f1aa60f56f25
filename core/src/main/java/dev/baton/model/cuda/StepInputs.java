package dev.baton.model.cuda;

import dev.baton.model.ForwardBatch;
import dev.baton.tensor.cuda.CudaOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Writes a step's inputs into the buffer that is copied to the device.
///
/// Sequences with one row come first, because attention of one row is another kernel than attention of several;
/// within each of the two groups the batch's order stays. Allocates nothing. Used from one thread.
final class StepInputs {
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final int PADDING = -1;

    private final MemorySegment buffer;
    private final int blockTokens;
    private final int[] rowOf; // (rows of the batch) -> row here
    private int rows;
    private int sequences;
    private int singles;
    private int longest;
    private int longestContext;

    /// @param buffer large enough for every [StepLayout] that is used
    /// @param maxRows most tokens of a step
    StepInputs(MemorySegment buffer, int maxRows, int blockTokens) {
        this.buffer = buffer;
        this.blockTokens = blockTokens;
        this.rowOf = new int[maxRows];
    }

    /// Writes a batch and fills the layout's rest with padding.
    void write(ForwardBatch batch, StepLayout layout) {
        rows = 0;
        sequences = 0;
        longest = 0;
        longestContext = 0;
        for (int s = 0; s < batch.numSequences(); s++) {
            if (numRows(batch, s) == 1) {
                add(batch, s, layout);
            }
        }
        singles = sequences;
        for (int s = 0; s < batch.numSequences(); s++) {
            if (numRows(batch, s) > 1) {
                add(batch, s, layout);
                longest = Math.max(longest, numRows(batch, s));
                longestContext = Math.max(longestContext, batch.contextTokens(s));
            }
        }
        int queryEnd = rows;
        for (int i = 0; i < batch.numLogits(); i++) {
            set(layout.wantedRows(), i, rowOf[batch.logitsRow(i)]);
        }
        for (int i = batch.numLogits(); i < layout.wanted(); i++) {
            set(layout.wantedRows(), i, 0);
        }
        for (int row = rows; row < layout.rows(); row++) {
            set(layout.tokens(), row, 0);
            set(layout.positions(), row, PADDING);
            set(layout.rowSequence(), row, 0);
        }
        for (int s = sequences; s < layout.sequences(); s++) {
            set(layout.contextTokens(), s, 0);
            set(layout.queryStart(), s, queryEnd);
        }
        set(layout.queryStart(), layout.sequences(), queryEnd);
    }

    private static int numRows(ForwardBatch batch, int sequence) {
        return batch.queryStart(sequence + 1) - batch.queryStart(sequence);
    }

    private void add(ForwardBatch batch, int sequence, StepLayout layout) {
        set(layout.queryStart(), sequences, rows);
        int context = batch.contextTokens(sequence);
        set(layout.contextTokens(), sequences, context);
        MemorySegment.copy(
                batch.blockTable(sequence),
                0,
                buffer,
                INT,
                layout.blockTables() + (long) sequences * layout.maxBlocks() * Integer.BYTES,
                Math.ceilDiv(context, blockTokens));
        for (int row = batch.queryStart(sequence); row < batch.queryStart(sequence + 1); row++) {
            set(layout.tokens(), rows, batch.tokenId(row));
            set(layout.positions(), rows, batch.position(row));
            set(layout.rowSequence(), rows, sequences);
            rowOf[row] = rows++;
        }
        sequences++;
    }

    private void set(long start, int index, int value) {
        buffer.set(INT, start + (long) index * Integer.BYTES, value);
    }

    /// Sequences of the written batch with one row.
    int singles() {
        return singles;
    }

    /// The sequences of the written batch that have several rows.
    CudaOps.Prompts prompts(StepLayout layout) {
        return new CudaOps.Prompts(
                layout.sequences() - singles, singles, layout.rows() - singles, longest, longestContext);
    }
}
