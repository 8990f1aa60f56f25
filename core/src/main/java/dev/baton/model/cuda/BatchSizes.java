package dev.baton.model.cuda;

import java.util.ArrayList;
import java.util.List;

/// The numbers of rows that work on the device is made for: each has products of its own that were measured, and a
/// step of fewer rows is padded to the next one.
final class BatchSizes {
    private static final int SMALL = 8;
    private static final int CHUNK = 64;
    private static final int WIDE_CHUNK = 512;
    private static final int NARROW_CHUNKS_BELOW = 1024;
    private static final int MIDDLE_CHUNKS_BELOW = 2048;

    private BatchSizes() {}

    /// Sequences of a decode step: powers of two up to 8, then multiples of 8.
    static int decode(int sequences) {
        return sequences <= SMALL
                ? Math.max(1, Integer.highestOneBit(2 * sequences - 1))
                : Math.ceilDiv(sequences, SMALL) * SMALL;
    }

    /// All sizes of decode steps.
    static List<Integer> allDecode(int maxSequences) {
        List<Integer> sizes = new ArrayList<>();
        for (int size = 1; size <= decode(maxSequences); size = decode(size + 1)) {
            sizes.add(size);
        }
        return sizes;
    }

    /// Rows of a product in a step with prompts: as in decode steps up to 64, then multiples of 64, which is no
    /// tile of the device's more.
    static int rows(int rows) {
        return rows <= CHUNK ? decode(rows) : Math.ceilDiv(rows, CHUNK) * CHUNK;
    }

    /// The sizes of prompts' chunks whose products are measured.
    static List<Integer> measuredChunks(int maxTokens) {
        List<Integer> sizes = new ArrayList<>();
        int largest = rows(maxTokens);
        for (int size = 2 * CHUNK; size < largest; size += step(size)) {
            sizes.add(size);
        }
        sizes.add(largest);
        return sizes;
    }

    /// The fewer rows, the more it matters how the device's tiles fit them.
    private static int step(int size) {
        if (size < NARROW_CHUNKS_BELOW) {
            return CHUNK;
        }
        return size < MIDDLE_CHUNKS_BELOW ? 2 * CHUNK : WIDE_CHUNK;
    }
}
