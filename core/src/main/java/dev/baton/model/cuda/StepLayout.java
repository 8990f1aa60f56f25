package dev.baton.model.cuda;

/// Where the numbers of a step's inputs lie in the one buffer that is copied to the device: arrays of ints, each
/// beginning at a multiple of 16 bytes.
///
/// @param rows tokens of the step, with padding
/// @param sequences of the step, with padding
/// @param wanted rows whose logits are wanted, with padding
/// @param maxBlocks entries of a block table
record StepLayout(int rows, int sequences, int wanted, int maxBlocks) {
    private static final long ALIGNMENT_BYTES = 16;

    /// Token ids, `(rows)`.
    long tokens() {
        return 0;
    }

    /// `(rows)`; -1 for padding.
    long positions() {
        return end(tokens(), rows);
    }

    /// The sequence of each row, `(rows)`.
    long rowSequence() {
        return end(positions(), rows);
    }

    /// Tokens of each sequence with this step's, `(sequences)`; 0 for padding.
    long contextTokens() {
        return end(rowSequence(), rows);
    }

    /// The row at which each sequence begins, `(sequences + 1)`.
    long queryStart() {
        return end(contextTokens(), sequences);
    }

    /// The rows whose logits are wanted, `(wanted)`.
    long wantedRows() {
        return end(queryStart(), sequences + 1);
    }

    /// `(sequences, maxBlocks)`.
    long blockTables() {
        return end(wantedRows(), wanted);
    }

    /// Size of the whole.
    long bytes() {
        return end(blockTables(), (long) sequences * maxBlocks);
    }

    private static long end(long start, long count) {
        return Math.ceilDiv(start + count * Integer.BYTES, ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    }
}
