package dev.baton.tokenizer.jinja;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// `object.name` and `object[key]`: the dot prefers a Python method, the bracket prefers a key. Methods that
/// would change a list or a dictionary are not there, as in Jinja's immutable sandbox.
final class Attributes {
    private static final Set<String> CHANGING_LIST =
            Set.of("append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove");
    private static final Set<String> CHANGING_DICT = Set.of("clear", "pop", "popitem", "setdefault", "update");

    private Attributes() {}

    /// `object.name`.
    static Object attribute(Object object, String name) {
        Values.failIfUndefined(object);
        Object method = method(object, name);
        if (method != null) {
            return method;
        }
        Object item = itemOrNull(object, name);
        return item != null ? item : Undefined.attribute(object, name);
    }

    /// `object[key]`.
    static Object item(Object object, Object key) {
        Values.failIfUndefined(object);
        Object item = itemOrNull(object, key);
        if (item != null) {
            return item;
        }
        if (key instanceof String name) {
            Object method = method(object, name);
            return method != null ? method : Undefined.attribute(object, name);
        }
        return new Undefined("'" + Values.typeName(object) + "' object has no element " + describe(key));
    }

    private static String describe(Object key) {
        return key instanceof Long || key instanceof None || key instanceof Double
                ? Repr.repr(key)
                : Values.typeName(key);
    }

    private static @Nullable Object itemOrNull(Object object, Object key) {
        if (object instanceof Map<?, ?> map) {
            boolean hashable = !(key instanceof List<?>) && !(key instanceof Map<?, ?>);
            return hashable ? map.get(Values.key(key)) : null;
        }
        if (!(key instanceof Long) && !(key instanceof Boolean)) {
            return null;
        }
        long index = Values.integer(key, "an index");
        if (object instanceof String text) {
            int length = Text.length(text);
            long at = index < 0 ? index + length : index;
            return at >= 0 && at < length ? Text.substring(text, (int) at, (int) at + 1) : null;
        }
        List<Object> items = Values.indexable(object);
        if (items == null) {
            return null;
        }
        long at = index < 0 ? index + items.size() : index;
        return at >= 0 && at < items.size() ? items.get((int) at) : null;
    }

    private static @Nullable Object method(Object object, String name) {
        return switch (object) {
            case String text -> StringMethods.method(text, name);
            case Map<?, ?> map -> dictMethod(map, name);
            case List<?> list ->
                CHANGING_LIST.contains(name) ? unsafe(object, name) : sequenceMethod(Values.items(list), name, "list");
            case Tuple tuple -> sequenceMethod(tuple.items(), name, "tuple");
            case Range range -> sequenceMethod(range.items(), name, "range");
            case Namespace namespace -> namespace.attributes().get(name);
            case LoopContext loop -> loop.attribute(name);
            case Macro macro -> macro.attribute(name);
            default -> null;
        };
    }

    private static Undefined unsafe(Object object, String name) {
        return new Undefined("access to attribute '" + name + "' of '" + Values.typeName(object)
                + "' object is unsafe: a template must not change what it is given");
    }

    private static @Nullable Object dictMethod(Map<?, ?> map, String name) {
        if (CHANGING_DICT.contains(name)) {
            return unsafe(map, name);
        }
        return switch (name) {
            case "get" ->
                (Callable) arguments -> {
                    Object value = map.get(
                            Values.key(arguments.check("get", "key", "default").require("get", 0, "key")));
                    return value != null ? value : arguments.get(1, "default", None.NONE);
                };
            case "keys" ->
                (Callable) arguments -> new DictView(
                        "dict_keys", new ArrayList<>(arguments.check("keys").isEmpty() ? map.keySet() : List.of()));
            case "values" ->
                (Callable) arguments -> new DictView(
                        "dict_values", new ArrayList<>(arguments.check("values").isEmpty() ? map.values() : List.of()));
            case "items" ->
                (Callable) arguments -> {
                    arguments.check("items");
                    return new DictView("dict_items", pairs(map));
                };
            case "copy" -> (Callable) arguments -> new LinkedHashMap<Object, Object>(map);
            case "fromkeys" -> throw JinjaException.unsupported("dict.fromkeys()");
            default -> null;
        };
    }

    /// A dictionary's entries as tuples.
    static List<Object> pairs(Map<?, ?> map) {
        List<Object> pairs = new ArrayList<>(map.size());
        map.forEach((key, value) -> pairs.add(Tuple.of(Objects.requireNonNull(key), Objects.requireNonNull(value))));
        return pairs;
    }

    private static @Nullable Object sequenceMethod(List<Object> items, String name, String type) {
        return switch (name) {
            case "count" ->
                (Callable) arguments -> {
                    Object wanted = arguments.check("count", "value").require("count", 0, "value");
                    return items.stream()
                            .filter(item -> Values.equal(item, wanted))
                            .count();
                };
            case "index" ->
                (Callable) arguments -> {
                    Object wanted = arguments.check("index", "value").require("index", 0, "value");
                    for (int i = 0; i < items.size(); i++) {
                        if (Values.equal(items.get(i), wanted)) {
                            return (long) i;
                        }
                    }
                    throw new JinjaException(describe(wanted) + " is not in " + type);
                };
            case "copy" -> type.equals("list") ? (Callable) arguments -> new ArrayList<>(items) : null;
            default -> null;
        };
    }
}
