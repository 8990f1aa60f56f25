package dev.baton.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;

/// Python's `value[start:stop:step]`.
final class Slicing {
    private Slicing() {}

    static Object slice(Object value, Object start, Object stop, Object step) {
        Values.failIfUndefined(value);
        if (value instanceof String text) {
            List<Object> characters = slice(Text.characters(text), start, stop, step);
            StringBuilder out = new StringBuilder();
            characters.forEach(out::append);
            return out.toString();
        }
        List<Object> items = Values.indexable(value);
        if (items == null) {
            throw new JinjaException("'" + Values.typeName(value) + "' object cannot be sliced");
        }
        List<Object> part = slice(items, start, stop, step);
        return switch (value) {
            case Tuple tuple -> new Tuple(part);
            case Range range -> new Range(part);
            default -> part;
        };
    }

    private static List<Object> slice(List<Object> items, Object start, Object stop, Object step) {
        int size = items.size();
        long stride = step == None.NONE ? 1 : Values.integer(step, "a slice's step");
        if (stride == 0) {
            throw new JinjaException("slice step cannot be zero");
        }
        boolean forward = stride > 0;
        long from = bound(start, forward ? 0 : size - 1, size, forward);
        long to = bound(stop, forward ? size : -1, size, forward);
        List<Object> part = new ArrayList<>();
        for (long i = from; forward ? i < to : i > to; i += stride) {
            part.add(items.get((int) i));
        }
        return part;
    }

    private static long bound(Object value, long fallback, int size, boolean forward) {
        if (value == None.NONE) {
            return fallback;
        }
        long index = Values.integer(value, "a slice's bound");
        if (index < 0) {
            index += size;
        }
        return Math.clamp(index, forward ? 0 : -1, forward ? size : size - 1);
    }
}
