package dev.baton.grammar;

import java.util.Arrays;

/// A set of Unicode code points without surrogates, which no text in UTF-8 holds. Immutable.
final class CodePointSet {
    static final int MAX = Character.MAX_CODE_POINT;
    static final CodePointSet EMPTY = new CodePointSet(new int[0]);
    static final CodePointSet ALL = of(0, MAX);

    private final int[] bounds; // first and last of each range, ascending, never touching

    private CodePointSet(int[] bounds) {
        this.bounds = bounds;
    }

    /// The union of ranges, given as pairs of first and last.
    static CodePointSet of(int... pairs) {
        Builder builder = new Builder();
        for (int i = 0; i < pairs.length; i += 2) {
            builder.add(pairs[i], pairs[i + 1]);
        }
        return builder.build();
    }

    static CodePointSet single(int codePoint) {
        return of(codePoint, codePoint);
    }

    int rangeCount() {
        return bounds.length / 2;
    }

    int first(int range) {
        return bounds[2 * range];
    }

    int last(int range) {
        return bounds[2 * range + 1];
    }

    boolean isEmpty() {
        return bounds.length == 0;
    }

    boolean contains(int codePoint) {
        for (int i = 0; i < bounds.length; i += 2) {
            if (codePoint >= bounds[i] && codePoint <= bounds[i + 1]) {
                return true;
            }
        }
        return false;
    }

    CodePointSet union(CodePointSet other) {
        Builder builder = new Builder();
        builder.add(this);
        builder.add(other);
        return builder.build();
    }

    CodePointSet complement() {
        Builder builder = new Builder();
        int from = 0;
        for (int i = 0; i < bounds.length; i += 2) {
            builder.add(from, bounds[i] - 1);
            from = bounds[i + 1] + 1;
        }
        builder.add(from, MAX);
        return builder.build();
    }

    CodePointSet intersect(CodePointSet other) {
        return complement().union(other.complement()).complement();
    }

    CodePointSet minus(CodePointSet other) {
        return complement().union(other).complement();
    }

    /// With the other case of every letter, one to one; a range of more than 4,096 is taken for complete.
    CodePointSet ignoringCase() {
        Builder builder = new Builder();
        builder.add(this);
        for (int i = 0; i < bounds.length; i += 2) {
            for (int c = bounds[i]; c <= bounds[i + 1] && bounds[i + 1] - bounds[i] <= 4096; c++) {
                int upper = Character.toUpperCase(c);
                int lower = Character.toLowerCase(c);
                builder.add(upper, upper);
                builder.add(lower, lower);
            }
        }
        return builder.build();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof CodePointSet set && Arrays.equals(bounds, set.bounds);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(bounds);
    }

    @Override
    public String toString() {
        return Arrays.toString(bounds);
    }

    /// Collects ranges in any order.
    static final class Builder {
        private long[] ranges = new long[8];
        private int size;

        void add(CodePointSet set) {
            for (int i = 0; i < set.rangeCount(); i++) {
                add(set.first(i), set.last(i));
            }
        }

        void add(int first, int last) {
            if (first < Character.MIN_SURROGATE && last > Character.MAX_SURROGATE) {
                push(first, Character.MIN_SURROGATE - 1);
                push(Character.MAX_SURROGATE + 1, last);
            } else {
                boolean startsInside = first >= Character.MIN_SURROGATE && first <= Character.MAX_SURROGATE;
                boolean endsInside = last >= Character.MIN_SURROGATE && last <= Character.MAX_SURROGATE;
                push(
                        startsInside ? Character.MAX_SURROGATE + 1 : first,
                        endsInside ? Character.MIN_SURROGATE - 1 : last);
            }
        }

        private void push(int first, int last) {
            if (first > last) {
                return;
            }
            if (size == ranges.length) {
                ranges = Arrays.copyOf(ranges, 2 * size);
            }
            ranges[size++] = ((long) first << 32) | last;
        }

        CodePointSet build() {
            Arrays.sort(ranges, 0, size);
            int[] bounds = new int[2 * size];
            int used = 0;
            for (int i = 0; i < size; i++) {
                int first = (int) (ranges[i] >>> 32);
                int last = (int) ranges[i];
                if (used > 0 && first <= bounds[used - 1] + 1) {
                    bounds[used - 1] = Math.max(bounds[used - 1], last);
                } else {
                    bounds[used++] = first;
                    bounds[used++] = last;
                }
            }
            return new CodePointSet(Arrays.copyOf(bounds, used));
        }
    }
}
