package dev.baton.cli;

import java.util.Collection;
import java.util.Comparator;
import java.util.Optional;

/// Finds what somebody probably meant.
final class NearestName {
    private NearestName() {}

    /// The known name with the fewest changed letters, unless more than half of them are changed.
    static Optional<String> of(String name, Collection<String> known) {
        return nearest(name, known)
                .filter(candidate -> distance(name, candidate) <= Math.max(name.length(), candidate.length()) / 2);
    }

    /// The known name with the fewest changed letters, unless more than `mostChanged` are.
    static Optional<String> of(String name, Collection<String> known, int mostChanged) {
        return nearest(name, known).filter(candidate -> distance(name, candidate) <= mostChanged);
    }

    private static Optional<String> nearest(String name, Collection<String> known) {
        return known.stream()
                .min(Comparator.comparingInt((String candidate) -> distance(name, candidate))
                        .thenComparing(Comparator.naturalOrder()));
    }

    /// Letters to insert, delete or replace (Levenshtein 1966).
    private static int distance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int replaced = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.min(replaced, Math.min(row[j - 1], row[j]) + 1);
            }
        }
        return row[b.length()];
    }
}
