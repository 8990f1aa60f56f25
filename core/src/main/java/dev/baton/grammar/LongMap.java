package dev.baton.grammar;

import org.jspecify.annotations.Nullable;

/// Values by a number, for caches that are read without locks or allocation: a write replaces the whole table.
/// Two writers at once may lose an entry, which is then worked out again. Thread-safe.
final class LongMap<V> {
    private volatile Table table = new Table(new long[1], new @Nullable Object[1], 0);

    private record Table(long[] keys, @Nullable Object[] values, int size) {}

    @SuppressWarnings("unchecked")
    @Nullable
    V get(long key) {
        Table now = table;
        int mask = now.keys.length - 1;
        for (int i = slot(key, mask); ; i = (i + 1) & mask) {
            Object value = now.values[i];
            if (value == null || now.keys[i] == key) {
                return (V) value;
            }
        }
    }

    void put(long key, V value) {
        Table now = table;
        int capacity = Math.max(4, now.keys.length);
        while (capacity < 2 * (now.size + 2)) {
            capacity *= 2;
        }
        long[] keys = new long[capacity];
        @Nullable Object[] values = new @Nullable Object[capacity];
        for (int i = 0; i < now.keys.length; i++) {
            Object old = now.values[i];
            if (old != null && now.keys[i] != key) {
                insert(keys, values, now.keys[i], old);
            }
        }
        insert(keys, values, key, value);
        table = new Table(keys, values, now.size + 1);
    }

    private static void insert(long[] keys, @Nullable Object[] values, long key, Object value) {
        int mask = keys.length - 1;
        int i = slot(key, mask);
        while (values[i] != null) {
            i = (i + 1) & mask;
        }
        keys[i] = key;
        values[i] = value;
    }

    private static int slot(long key, int mask) {
        return (int) ((key * 0x9e3779b97f4a7c15L) >>> 40) & mask;
    }
}
