package dev.baton.tokenizer.jinja;

import java.util.Iterator;
import java.util.List;

/// What lazy filters such as `selectattr` give in Python, a generator: always true, without a length, walked once.
final class OneShot {
    private final Iterator<Object> items;

    OneShot(List<Object> items) {
        this.items = items.iterator();
    }

    Iterator<Object> items() {
        return items;
    }
}
