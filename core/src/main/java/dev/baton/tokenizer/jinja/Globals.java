package dev.baton.tokenizer.jinja;

import java.time.Clock;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The functions that every template can call.
final class Globals {
    /// The sandbox's limit on the length of a range.
    private static final long MAX_RANGE = 100_000;

    private Globals() {}

    static Map<String, Object> create(Clock clock) {
        Map<String, Object> globals = new LinkedHashMap<>();
        globals.put("raise_exception", (Callable) Globals::raise);
        globals.put("strftime_now", (Callable) arguments -> {
            Object format = arguments.check("strftime_now", "format").require("strftime_now", 0, "format");
            return Strftime.format(Values.string(format, "the format"), LocalDateTime.now(clock));
        });
        globals.put("namespace", (Callable) Globals::namespace);
        globals.put("dict", (Callable) Globals::dict);
        globals.put("range", (Callable) Globals::range);
        for (String name : List.of("lipsum", "cycler", "joiner")) {
            globals.put(name, (Callable) arguments -> {
                throw JinjaException.unsupported("the function '" + name + "'");
            });
        }
        return Map.copyOf(globals);
    }

    private static Object raise(Arguments arguments) {
        throw JinjaException.raised(
                Repr.str(arguments.check("raise_exception", "message").require("raise_exception", 0, "message")));
    }

    private static Namespace namespace(Arguments arguments) {
        Namespace namespace = new Namespace();
        dict(arguments).forEach((key, value) -> namespace.attributes().put(Repr.str(key), value));
        return namespace;
    }

    private static Map<Object, Object> dict(Arguments arguments) {
        Map<Object, Object> dict = new LinkedHashMap<>();
        if (arguments.positional().size() > 1) {
            throw new JinjaException("dict expected at most 1 argument");
        }
        for (Object source : arguments.positional()) {
            for (Object pair : source instanceof Map<?, ?> map ? Attributes.pairs(map) : Values.items(source)) {
                List<Object> entry = Values.items(pair);
                if (entry.size() != 2) {
                    throw new JinjaException("dict needs pairs of a key and a value");
                }
                dict.put(Values.key(entry.get(0)), entry.get(1));
            }
        }
        dict.putAll(arguments.named());
        return dict;
    }

    private static Range range(Arguments arguments) {
        arguments.check("range", "start", "stop", "step");
        Object first = arguments.require("range", 0, "stop");
        boolean single = arguments.positional().size() == 1;
        long start = single ? 0 : Values.integer(first, "range's start");
        long stop = Values.integer(single ? first : arguments.get(1, "stop", 0L), "range's stop");
        long step = Values.integer(arguments.get(2, "step", 1L), "range's step");
        if (step == 0) {
            throw new JinjaException("range() arg 3 must not be zero");
        }
        List<Object> items = new ArrayList<>();
        for (long i = start; step > 0 ? i < stop : i > stop; i += step) {
            if (items.size() == MAX_RANGE) {
                throw new JinjaException("range() is limited to " + MAX_RANGE + " items");
            }
            items.add(i);
        }
        return new Range(items);
    }
}
