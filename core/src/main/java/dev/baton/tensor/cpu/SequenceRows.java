package dev.baton.tensor.cpu;

import java.util.Arrays;

/// Which rows of a step belong to which sequence, where in the sequence they begin, and in which KV blocks it lies.
///
/// Rows of one sequence are cut into tiles of at most [#TILE_ROWS] rows, the pieces of work that threads share.
/// Results do not depend on the cut. Reused from step to step; filled and read by one thread, read by the
/// pool's.
public final class SequenceRows {
    /// Rows that attend together: enough to make reading the keys cheap, few enough that their scores stay in
    /// cache.
    static final int TILE_ROWS = 32;

    private static final int INITIAL = 16;

    private int sequences;
    private int[] firstRow = new int[INITIAL]; // (sequences)
    private int[] rows = new int[INITIAL]; // (sequences)
    private int[] firstPosition = new int[INITIAL]; // (sequences)
    private int[][] blockTable = new int[INITIAL][]; // (sequences, blocks of the sequence)
    private int tiles;
    private int[] tileSequence = new int[INITIAL]; // (tiles)
    private int[] tileOffset = new int[INITIAL]; // (tiles)
    private int totalRows;
    private int lastPosition;

    /// Forgets everything.
    public void clear() {
        sequences = 0;
        tiles = 0;
        totalRows = 0;
        lastPosition = 0;
    }

    /// Adds consecutive rows of one sequence.
    ///
    /// @param row index of the first row in the step
    /// @param count number of rows, at least 1
    /// @param position position of the first row in the sequence; all earlier keys and values are in the cache
    /// @param blocks the sequence's KV blocks, covering `position + count` tokens
    public void add(int row, int count, int position, int[] blocks) {
        if (sequences == firstRow.length) {
            int grown = 2 * sequences;
            firstRow = Arrays.copyOf(firstRow, grown);
            rows = Arrays.copyOf(rows, grown);
            firstPosition = Arrays.copyOf(firstPosition, grown);
            blockTable = Arrays.copyOf(blockTable, grown);
        }
        firstRow[sequences] = row;
        rows[sequences] = count;
        firstPosition[sequences] = position;
        blockTable[sequences] = blocks;
        int added = Math.ceilDiv(count, TILE_ROWS);
        if (tiles + added > tileSequence.length) {
            int grown = Math.max(2 * tileSequence.length, tiles + added);
            tileSequence = Arrays.copyOf(tileSequence, grown);
            tileOffset = Arrays.copyOf(tileOffset, grown);
        }
        // The last tile sees the most keys, so it is begun first: the threads then finish together.
        for (int t = added - 1; t >= 0; t--) {
            tileSequence[tiles] = sequences;
            tileOffset[tiles++] = t * TILE_ROWS;
        }
        sequences++;
        totalRows += count;
        lastPosition = Math.max(lastPosition, position + count - 1);
    }

    int tiles() {
        return tiles;
    }

    /// Number of rows of all sequences.
    int totalRows() {
        return totalRows;
    }

    /// The greatest position of any row.
    public int lastPosition() {
        return lastPosition;
    }

    int tileFirstRow(int tile) {
        return firstRow[tileSequence[tile]] + tileOffset[tile];
    }

    int tileRows(int tile) {
        return Math.min(TILE_ROWS, rows[tileSequence[tile]] - tileOffset[tile]);
    }

    int tileFirstPosition(int tile) {
        return firstPosition[tileSequence[tile]] + tileOffset[tile];
    }

    int[] tileBlocks(int tile) {
        return blockTable[tileSequence[tile]];
    }
}
