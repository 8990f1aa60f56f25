package dev.baton.grammar;

import java.util.ArrayList;
import java.util.List;

/// Ranges of code points as sequences of byte ranges. The splitting is that of Russ Cox's
/// "Regular Expression Matching in the Wild" (RE2, `utf8-ranges`).
final class Utf8 {
    private Utf8() {}

    /// Byte sequences that together spell exactly the set: each holds first and last of every byte.
    static List<int[]> sequences(CodePointSet set) {
        List<int[]> result = new ArrayList<>();
        for (int i = 0; i < set.rangeCount(); i++) {
            split(set.first(i), set.last(i), result);
        }
        return result;
    }

    private static void split(int first, int last, List<int[]> result) {
        if (first > last) {
            return;
        }
        for (int limit : new int[] {0x7f, 0x7ff, 0xffff}) {
            if (first <= limit && last > limit) {
                split(first, limit, result);
                split(limit + 1, last, result);
                return;
            }
        }
        for (int bits = 6; bits <= 18 && last > 0x7f; bits += 6) {
            int low = (1 << bits) - 1;
            if ((first & ~low) != (last & ~low)) {
                if ((first & low) != 0) {
                    split(first, first | low, result);
                    split((first | low) + 1, last, result);
                    return;
                }
                if ((last & low) != low) {
                    split(first, (last & ~low) - 1, result);
                    split(last & ~low, last, result);
                    return;
                }
            }
        }
        int length = first <= 0x7f ? 1 : first <= 0x7ff ? 2 : first <= 0xffff ? 3 : 4;
        int[] sequence = new int[2 * length];
        for (int i = 0; i < length; i++) {
            sequence[2 * i] = byteAt(first, i, length);
            sequence[2 * i + 1] = byteAt(last, i, length);
        }
        result.add(sequence);
    }

    private static int byteAt(int codePoint, int index, int length) {
        int shifted = codePoint >> (6 * (length - 1 - index));
        if (index > 0) {
            return 0x80 | (shifted & 0x3f);
        }
        return switch (length) {
            case 1 -> shifted;
            case 2 -> 0xc0 | shifted;
            case 3 -> 0xe0 | shifted;
            default -> 0xf0 | shifted;
        };
    }
}
