package dev.baton.tokenizer.jinja;

import java.util.List;

/// Python's tuple: an immutable sequence that prints with parentheses.
record Tuple(List<Object> items) {
    static Tuple of(Object... items) {
        return new Tuple(List.of(items));
    }
}
