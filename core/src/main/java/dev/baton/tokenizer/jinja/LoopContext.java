package dev.baton.tokenizer.jinja;

import java.util.List;
import org.jspecify.annotations.Nullable;

/// The variable `loop` inside a `for`.
final class LoopContext {
    private final List<Object> items;
    private int index;
    private @Nullable Object lastChanged;

    LoopContext(List<Object> items) {
        this.items = items;
    }

    void moveTo(int index) {
        this.index = index;
    }

    int length() {
        return items.size();
    }

    Object attribute(String name) {
        return switch (name) {
            case "index" -> index + 1L;
            case "index0" -> (long) index;
            case "revindex" -> (long) items.size() - index;
            case "revindex0" -> items.size() - index - 1L;
            case "first" -> index == 0;
            case "last" -> index == items.size() - 1;
            case "length" -> (long) items.size();
            case "previtem" -> index > 0 ? items.get(index - 1) : new Undefined("there is no previous item");
            case "nextitem" -> index + 1 < items.size() ? items.get(index + 1) : new Undefined("there is no next item");
            case "depth" -> 1L;
            case "depth0" -> 0L;
            case "cycle" -> (Callable) this::cycle;
            case "changed" -> (Callable) this::changed;
            default -> Undefined.attribute(this, name);
        };
    }

    private Object cycle(Arguments arguments) {
        if (arguments.positional().isEmpty()) {
            throw new JinjaException("no items for cycling given");
        }
        return arguments.positional().get(index % arguments.positional().size());
    }

    private Object changed(Arguments arguments) {
        Tuple now = new Tuple(arguments.positional());
        Object before = lastChanged;
        lastChanged = now;
        return before == null || !Values.equal(before, now);
    }
}
