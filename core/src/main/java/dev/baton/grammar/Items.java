package dev.baton.grammar;

import java.util.Arrays;

/// A set of items that is being collected, in the order of adding. Not thread-safe.
final class Items {
    private int[] states = new int[8];
    private int[] counts = new int[8];
    private int[] rules = new int[8];
    private Node[] origins = new Node[8];
    private int size;
    private int[] table = new int[0]; // places + 1 by hash, once there are many

    boolean add(int state, int count, int rule, Node origin) {
        if (contains(state, count, rule, origin)) {
            return false;
        }
        if (size == states.length) {
            states = Arrays.copyOf(states, 2 * size);
            counts = Arrays.copyOf(counts, 2 * size);
            rules = Arrays.copyOf(rules, 2 * size);
            origins = Arrays.copyOf(origins, 2 * size);
        }
        states[size] = state;
        counts[size] = count;
        rules[size] = rule;
        origins[size] = origin;
        size++;
        if (size > 8) {
            index();
        }
        return true;
    }

    private boolean contains(int state, int count, int rule, Node origin) {
        if (table.length == 0) {
            for (int i = 0; i < size; i++) {
                if (is(i, state, count, rule, origin)) {
                    return true;
                }
            }
            return false;
        }
        int mask = table.length - 1;
        for (int at = hash(state, count, rule, origin) & mask; table[at] != 0; at = (at + 1) & mask) {
            if (is(table[at] - 1, state, count, rule, origin)) {
                return true;
            }
        }
        return false;
    }

    private boolean is(int i, int state, int count, int rule, Node origin) {
        return states[i] == state && counts[i] == count && rules[i] == rule && origins[i] == origin;
    }

    private void index() {
        int from = size - 1;
        if (table.length < 2 * size) {
            table = new int[Integer.highestOneBit(size) * 4];
            from = 0;
        }
        int mask = table.length - 1;
        for (int i = from; i < size; i++) {
            int at = hash(states[i], counts[i], rules[i], origins[i]) & mask;
            while (table[at] != 0) {
                at = (at + 1) & mask;
            }
            table[at] = i + 1;
        }
    }

    private static int hash(int state, int count, int rule, Node origin) {
        long h = state * 0x9e3779b97f4a7c15L + count * 0xc2b2ae3d27d4eb4fL + rule * 0x165667b19e3779f9L + origin.id;
        h *= 0xff51afd7ed558ccdL;
        return (int) (h >>> 32);
    }

    int size() {
        return size;
    }

    int state(int i) {
        return states[i];
    }

    int count(int i) {
        return counts[i];
    }

    int rule(int i) {
        return rules[i];
    }

    Node origin(int i) {
        return origins[i];
    }

    int[] states() {
        return Arrays.copyOf(states, size);
    }

    int[] counts() {
        return Arrays.copyOf(counts, size);
    }

    int[] rules() {
        return Arrays.copyOf(rules, size);
    }

    Node[] origins() {
        return Arrays.copyOf(origins, size);
    }

    /// The items sorted, so that equal sets are equal lists.
    Items sorted() {
        Integer[] order = new Integer[size];
        Arrays.setAll(order, i -> i);
        Arrays.sort(order, (a, b) -> {
            int result = Integer.compare(states[a], states[b]);
            result = result != 0 ? result : Integer.compare(counts[a], counts[b]);
            result = result != 0 ? result : Integer.compare(rules[a], rules[b]);
            return result != 0 ? result : Long.compare(origins[a].id, origins[b].id);
        });
        Items sorted = new Items();
        for (int i : order) {
            sorted.add(states[i], counts[i], rules[i], origins[i]);
        }
        return sorted;
    }
}
