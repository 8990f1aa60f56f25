package dev.baton.transfer;

import java.util.LinkedHashMap;
import java.util.Map;

/// What is kept of things that are over, as far as there is room. Stateless; the maps are not thread-safe.
public final class Remembered {
    private Remembered() {}

    /// A map that drops the entry that came first when there are more than so many.
    public static <V> Map<String, V> atMost(int entries) {
        return new LinkedHashMap<>() {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, V> eldest) {
                return size() > entries;
            }
        };
    }
}
