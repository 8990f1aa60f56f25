package dev.baton.tokenizer.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// The values of the interpreter and their Python semantics: truth, equality, order, length, iteration, membership.
///
/// A value is `None.NONE`, `Boolean`, `Long` (`BigInteger` where one came in), `Double`, `String`, `List`, [Tuple],
/// `LinkedHashMap`, [Range], [DictView], [OneShot], [Namespace], [LoopContext], a [Callable] or [Undefined].
final class Values {
    private Values() {}

    /// A value from outside, as deep a copy as the interpreter needs; JSON's types are known, others are refused.
    static Object fromJava(@Nullable Object value) {
        return switch (value) {
            case null -> None.NONE;
            case String text -> text;
            case Boolean truth -> truth;
            case Long number -> number;
            case Integer number -> number.longValue();
            case Short number -> number.longValue();
            case Byte number -> number.longValue();
            case Double number -> number;
            case Float number -> number.doubleValue();
            case BigDecimal number -> number.doubleValue();
            case BigInteger number -> number.bitLength() < 64 ? (Object) number.longValue() : number;
            case Map<?, ?> map -> {
                Map<Object, Object> dict = LinkedHashMap.newLinkedHashMap(map.size());
                map.forEach((key, item) -> dict.put(fromJava(key), fromJava(item)));
                yield dict;
            }
            case Iterable<?> items -> {
                List<Object> list = new ArrayList<>();
                items.forEach(item -> list.add(fromJava(item)));
                yield list;
            }
            default ->
                throw new JinjaException(
                        "a value of type " + value.getClass().getName() + " cannot be given to a template");
        };
    }

    static String typeName(Object value) {
        return switch (value) {
            case None none -> "NoneType";
            case Boolean truth -> "bool";
            case Long number -> "int";
            case BigInteger number -> "int";
            case Double number -> "float";
            case String text -> "str";
            case List<?> list -> "list";
            case Tuple tuple -> "tuple";
            case Map<?, ?> map -> "dict";
            case Range range -> "range";
            case DictView view -> view.kind();
            case OneShot generator -> "generator";
            case Namespace namespace -> "Namespace";
            case LoopContext loop -> "LoopContext";
            case Undefined undefined -> "Undefined";
            default -> "function";
        };
    }

    static boolean isTrue(Object value) {
        return switch (value) {
            case None none -> false;
            case Undefined undefined -> false;
            case Boolean truth -> truth;
            case Long number -> number != 0;
            case Double number -> number != 0;
            case String text -> !text.isEmpty();
            case List<?> list -> !list.isEmpty();
            case Tuple tuple -> !tuple.items().isEmpty();
            case Map<?, ?> map -> !map.isEmpty();
            case Range range -> !range.items().isEmpty();
            case DictView view -> !view.items().isEmpty();
            default -> true;
        };
    }

    /// Python's `==`.
    static boolean equal(Object left, Object right) {
        Object a = left instanceof Boolean truth ? (Object) (truth ? 1L : 0L) : left;
        Object b = right instanceof Boolean truth ? (Object) (truth ? 1L : 0L) : right;
        if (a instanceof Number x && b instanceof Number y) {
            return (x instanceof Double || y instanceof Double) ? x.doubleValue() == y.doubleValue() : x.equals(y);
        }
        if (a instanceof List<?> x && b instanceof List<?> y) {
            return equalItems(x, y);
        }
        if (a instanceof Tuple(List<Object> x) && b instanceof Tuple(List<Object> y)) {
            return equalItems(x, y);
        }
        if (a instanceof Map<?, ?> x && b instanceof Map<?, ?> y) {
            return x.size() == y.size()
                    && x.entrySet().stream()
                            .allMatch(e -> y.containsKey(e.getKey())
                                    && equal(e.getValue(), Objects.requireNonNull(y.get(e.getKey()))));
        }
        return a.equals(b);
    }

    private static boolean equalItems(List<?> left, List<?> right) {
        if (left.size() != right.size()) {
            return false;
        }
        for (int i = 0; i < left.size(); i++) {
            if (!equal(left.get(i), right.get(i))) {
                return false;
            }
        }
        return true;
    }

    /// Python's order, for `<` and for sorting; values without one fail.
    static int compare(Object left, Object right) {
        Object a = left instanceof Boolean truth ? (Object) (truth ? 1L : 0L) : left;
        Object b = right instanceof Boolean truth ? (Object) (truth ? 1L : 0L) : right;
        if (a instanceof Long x && b instanceof Long y) {
            return Long.compare(x, y);
        }
        if (a instanceof Number x
                && b instanceof Number y
                && !(a instanceof BigInteger)
                && !(b instanceof BigInteger)) {
            if (Double.isNaN(x.doubleValue()) || Double.isNaN(y.doubleValue())) {
                throw JinjaException.unsupported("ordering of nan");
            }
            return Double.compare(x.doubleValue() + 0.0, y.doubleValue() + 0.0);
        }
        if (a instanceof String x && b instanceof String y) {
            return Text.compare(x, y);
        }
        if (a instanceof List<?> x && b instanceof List<?> y) {
            return compareItems(x, y);
        }
        if (a instanceof Tuple(List<Object> x) && b instanceof Tuple(List<Object> y)) {
            return compareItems(x, y);
        }
        failIfUndefined(left);
        failIfUndefined(right);
        throw new JinjaException("no order between '" + typeName(left) + "' and '" + typeName(right) + "'");
    }

    private static int compareItems(List<?> left, List<?> right) {
        for (int i = 0; i < Math.min(left.size(), right.size()); i++) {
            if (!equal(left.get(i), right.get(i))) {
                return compare(left.get(i), right.get(i));
            }
        }
        return Integer.compare(left.size(), right.size());
    }

    static void failIfUndefined(Object value) {
        if (value instanceof Undefined undefined) {
            throw undefined.failure();
        }
    }

    /// Python's `len`.
    static long length(Object value) {
        return switch (value) {
            case String text -> Text.length(text);
            case List<?> list -> list.size();
            case Tuple tuple -> tuple.items().size();
            case Map<?, ?> map -> map.size();
            case Range range -> range.items().size();
            case DictView view -> view.items().size();
            case LoopContext loop -> loop.length();
            case Undefined undefined -> 0;
            default -> throw new JinjaException("object of type '" + typeName(value) + "' has no len()");
        };
    }

    static boolean isIterable(Object value) {
        return switch (value) {
            case String text -> true;
            case List<?> list -> true;
            case Tuple tuple -> true;
            case Map<?, ?> map -> true;
            case Range range -> true;
            case DictView view -> true;
            case OneShot generator -> true;
            case LoopContext loop -> true;
            case Undefined undefined -> true;
            default -> false;
        };
    }

    /// The items that iteration over a value gives; a generator is used up by it.
    @SuppressWarnings("unchecked")
    static List<Object> items(Object value) {
        return switch (value) {
            case List<?> list -> (List<Object>) list;
            case Tuple tuple -> tuple.items();
            case Range range -> range.items();
            case DictView view -> view.items();
            case String text -> Text.characters(text);
            case Map<?, ?> map -> new ArrayList<>(map.keySet());
            case Undefined undefined -> List.of();
            case OneShot generator -> {
                List<Object> rest = new ArrayList<>();
                generator.items().forEachRemaining(rest::add);
                yield rest;
            }
            default -> throw new JinjaException("'" + typeName(value) + "' object is not iterable");
        };
    }

    /// The items of a value that has an order to index by: list, tuple or range.
    static @Nullable List<Object> indexable(Object value) {
        return value instanceof List<?> || value instanceof Tuple || value instanceof Range ? items(value) : null;
    }

    /// Python's `in`.
    static boolean contains(Object container, Object item) {
        if (container instanceof String text) {
            if (item instanceof String part) {
                return text.contains(part);
            }
            failIfUndefined(item);
            throw new JinjaException(
                    "'in' with a string on the right needs a string on the left, not " + typeName(item));
        }
        if (container instanceof Map<?, ?> map) {
            return map.containsKey(key(item));
        }
        for (Object candidate : items(container)) {
            if (equal(candidate, item)) {
                return true;
            }
        }
        return false;
    }

    /// A value as the key of a dictionary.
    static Object key(Object value) {
        return switch (value) {
            case String text -> text;
            case Long number -> number;
            case None none -> none;
            case Undefined undefined -> undefined;
            case Tuple tuple -> tuple;
            case List<?> list -> throw new JinjaException("unhashable type: 'list'");
            case Map<?, ?> map -> throw new JinjaException("unhashable type: 'dict'");
            default -> throw JinjaException.unsupported("a dictionary key of type '" + typeName(value) + "'");
        };
    }

    static long integer(Object value, String what) {
        return switch (value) {
            case Long number -> number;
            case Boolean truth -> truth ? 1 : 0;
            case Undefined undefined -> throw undefined.failure();
            default -> throw new JinjaException(what + " must be an integer, not " + typeName(value));
        };
    }

    static String string(Object value, String what) {
        failIfUndefined(value);
        if (value instanceof String text) {
            return text;
        }
        throw new JinjaException(what + " must be a string, not " + typeName(value));
    }
}
