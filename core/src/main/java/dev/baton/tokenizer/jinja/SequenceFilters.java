package dev.baton.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;

/// The filters on sequences. Those that are lazy in Python give a [OneShot], with its odd truth and missing length.
final class SequenceFilters {
    private SequenceFilters() {}

    static Object apply(String name, Object value, Arguments arguments) {
        return switch (name) {
            case "join" -> join(value, arguments.check(name, "d", "attribute"));
            case "list" -> new ArrayList<>(Values.items(value));
            case "first" -> first(value);
            case "last" -> last(value);
            case "reverse" -> reverse(value);
            case "map" -> new OneShot(mapped(value, arguments));
            case "select" -> new OneShot(selected(value, arguments, false, true));
            case "reject" -> new OneShot(selected(value, arguments, false, false));
            case "selectattr" -> new OneShot(selected(value, arguments, true, true));
            case "rejectattr" -> new OneShot(selected(value, arguments, true, false));
            case "unique" -> new OneShot(unique(value, arguments.check(name, "case_sensitive", "attribute")));
            case "sort" -> sorted(value, arguments.check(name, "reverse", "case_sensitive", "attribute"));
            case "dictsort" -> dictSorted(value, arguments.check(name, "case_sensitive", "by", "reverse"));
            case "sum" -> sum(value, arguments.check(name, "attribute", "start"));
            case "min" -> extreme(value, arguments.check(name, "case_sensitive", "attribute"), 1);
            case "max" -> extreme(value, arguments.check(name, "case_sensitive", "attribute"), -1);
            default -> throw JinjaException.unsupported("the filter '" + name + "'");
        };
    }

    private static String join(Object value, Arguments arguments) {
        String separator = Repr.str(arguments.get(0, "d", ""));
        Function<Object, Object> part = attribute(arguments.get(1, "attribute", None.NONE), None.NONE);
        List<String> parts = new ArrayList<>();
        for (Object item : Values.items(value)) {
            parts.add(Repr.str(part.apply(item)));
        }
        return String.join(separator, parts);
    }

    private static Object first(Object value) {
        if (value instanceof OneShot generator) {
            return generator.items().hasNext()
                    ? generator.items().next()
                    : new Undefined("No first item, sequence was empty.");
        }
        List<Object> items = Values.items(value);
        return items.isEmpty() ? new Undefined("No first item, sequence was empty.") : items.getFirst();
    }

    private static Object last(Object value) {
        if (value instanceof OneShot) {
            throw new JinjaException("'generator' object is not reversible: needs '| list' before '| last'");
        }
        List<Object> items = Values.items(value);
        return items.isEmpty() ? new Undefined("No last item, sequence was empty.") : items.getLast();
    }

    private static Object reverse(Object value) {
        if (value instanceof String text) {
            return new StringBuilder(text).reverse().toString();
        }
        List<Object> reversed = new ArrayList<>(Values.items(value)).reversed();
        return value instanceof OneShot ? new ArrayList<>(reversed) : new OneShot(reversed);
    }

    private static List<Object> mapped(Object value, Arguments arguments) {
        Function<Object, Object> function;
        if (arguments.positional().isEmpty() && arguments.named().containsKey("attribute")) {
            Object fallback = arguments.check("map", "attribute", "default").get(1, "default", None.NONE);
            function = attribute(arguments.get(0, "attribute", None.NONE), fallback);
        } else {
            String filter = Values.string(arguments.require("map", 0, "filter"), "the filter to map");
            Arguments rest = arguments.dropFirst(1);
            function = item -> Filters.apply(filter, item, rest);
        }
        List<Object> out = new ArrayList<>();
        for (Object item : Values.items(value)) {
            out.add(function.apply(item));
        }
        return out;
    }

    private static List<Object> selected(Object value, Arguments arguments, boolean byAttribute, boolean keep) {
        Function<Object, Object> subject = byAttribute
                ? attribute(arguments.require("selectattr", 0, "attribute"), None.NONE)
                : Function.identity();
        Arguments testArguments = arguments.dropFirst(byAttribute ? 1 : 0);
        Predicate<Object> test = Values::isTrue;
        if (!testArguments.positional().isEmpty()) {
            String name = Values.string(testArguments.positional().getFirst(), "the test's name");
            Arguments rest = testArguments.dropFirst(1);
            test = item -> Tests.apply(name, item, rest);
        }
        List<Object> out = new ArrayList<>();
        for (Object item : Values.items(value)) {
            if (test.test(subject.apply(item)) == keep) {
                out.add(item);
            }
        }
        return out;
    }

    /// Reads an attribute by its path (`function.name`, an index where a part is a number), or the item itself.
    private static Function<Object, Object> attribute(Object path, Object fallback) {
        if (path == None.NONE) {
            return Function.identity();
        }
        List<Object> keys = new ArrayList<>();
        if (path instanceof Long) {
            keys.add(path);
        } else {
            for (Object part : Text.split(Values.string(path, "an attribute"), ".", -1)) {
                boolean index = Text.all((String) part, c -> c >= '0' && c <= '9');
                keys.add(index ? (Object) Long.valueOf((String) part) : part);
            }
        }
        return item -> {
            Object value = item;
            for (Object key : keys) {
                value = Attributes.item(value, key);
                if (value instanceof Undefined && fallback != None.NONE) {
                    value = fallback;
                }
            }
            return value;
        };
    }

    private static Function<Object, Object> sortKey(Arguments arguments, int caseIndex, int attributeIndex) {
        boolean caseSensitive = Values.isTrue(arguments.get(caseIndex, "case_sensitive", false));
        Function<Object, Object> attribute =
                attribute(arguments.get(attributeIndex, "attribute", None.NONE), None.NONE);
        return attribute.andThen(value -> foldCase(value, caseSensitive));
    }

    private static Object foldCase(Object value, boolean caseSensitive) {
        return !caseSensitive && value instanceof String text ? text.toLowerCase(Locale.ROOT) : value;
    }

    private static List<Object> unique(Object value, Arguments arguments) {
        Function<Object, Object> key = sortKey(arguments, 0, 1);
        Set<Object> seen = new HashSet<>();
        List<Object> out = new ArrayList<>();
        for (Object item : Values.items(value)) {
            Object seenKey = key.apply(item);
            if (seen.add(seenKey instanceof Boolean || seenKey instanceof Double ? seenKey : Values.key(seenKey))) {
                out.add(item);
            }
        }
        return out;
    }

    private static List<Object> sorted(Object value, Arguments arguments) {
        Object path = arguments.get(2, "attribute", None.NONE);
        if (path instanceof String text && text.indexOf(',') >= 0) {
            throw JinjaException.unsupported("sorting by several attributes");
        }
        return sorted(Values.items(value), sortKey(arguments, 1, 2), Values.isTrue(arguments.get(0, "reverse", false)));
    }

    /// A stable sort, also backwards, as Python's.
    private static List<Object> sorted(List<Object> items, Function<Object, Object> key, boolean reverse) {
        Comparator<Object> order = Comparator.comparing(key, Values::compare);
        List<Object> out = new ArrayList<>(items);
        out.sort(reverse ? order.reversed() : order);
        return out;
    }

    private static List<Object> dictSorted(Object value, Arguments arguments) {
        if (!(value instanceof Map<?, ?> map)) {
            throw new JinjaException("dictsort needs a mapping, not " + Values.typeName(value));
        }
        boolean caseSensitive = Values.isTrue(arguments.get(0, "case_sensitive", false));
        int position = switch (Repr.str(arguments.get(1, "by", "key"))) {
            case "key" -> 0;
            case "value" -> 1;
            default -> throw new JinjaException("dictsort sorts by 'key' or 'value'");
        };
        return sorted(
                Attributes.pairs(map),
                pair -> foldCase(((Tuple) pair).items().get(position), caseSensitive),
                Values.isTrue(arguments.get(2, "reverse", false)));
    }

    private static Object sum(Object value, Arguments arguments) {
        Function<Object, Object> attribute = attribute(arguments.get(0, "attribute", None.NONE), None.NONE);
        Object total = arguments.get(1, "start", 0L);
        if (total instanceof String) {
            throw new JinjaException("sum() can't sum strings: use join");
        }
        for (Object item : Values.items(value)) {
            total = Operators.apply("+", total, attribute.apply(item));
        }
        return total;
    }

    private static Object extreme(Object value, Arguments arguments, int direction) {
        Function<Object, Object> key = sortKey(arguments, 0, 1);
        List<Object> items = Values.items(value);
        if (items.isEmpty()) {
            return new Undefined("No aggregated item, sequence was empty.");
        }
        Object best = items.getFirst();
        for (Object item : items.subList(1, items.size())) {
            if (direction * Values.compare(key.apply(item), key.apply(best)) < 0) {
                best = item;
            }
        }
        return best;
    }
}
