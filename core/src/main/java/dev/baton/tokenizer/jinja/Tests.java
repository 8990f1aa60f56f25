package dev.baton.tokenizer.jinja;

import java.math.BigInteger;
import java.util.Map;

/// The tests after `is`.
final class Tests {
    private Tests() {}

    /// `value is name(arguments)`.
    static boolean apply(String name, Object value, Arguments arguments) {
        return switch (name) {
            case "defined" -> plain(name, arguments, !(value instanceof Undefined));
            case "undefined" -> plain(name, arguments, value instanceof Undefined);
            case "none" -> plain(name, arguments, value == None.NONE);
            case "true" -> plain(name, arguments, Boolean.TRUE.equals(value));
            case "false" -> plain(name, arguments, Boolean.FALSE.equals(value));
            case "boolean" -> plain(name, arguments, value instanceof Boolean);
            case "string" -> plain(name, arguments, value instanceof String);
            case "integer" -> plain(name, arguments, value instanceof Long || value instanceof BigInteger);
            case "float" -> plain(name, arguments, value instanceof Double);
            case "number" -> plain(name, arguments, Operators.isNumber(value));
            case "mapping" -> plain(name, arguments, value instanceof Map<?, ?>);
            case "iterable" -> plain(name, arguments, Values.isIterable(value));
            case "sequence" -> plain(name, arguments, isSequence(value));
            case "callable" -> plain(name, arguments, value instanceof Callable || value instanceof Undefined);
            case "escaped" -> plain(name, arguments, false);
            case "odd" -> plain(name, arguments, remainder(value, 2L) == 1);
            case "even" -> plain(name, arguments, remainder(value, 2L) == 0);
            case "divisibleby" -> remainder(value, other(name, arguments)) == 0;
            case "lower" -> plain(name, arguments, Text.hasCase(Repr.str(value), false));
            case "upper" -> plain(name, arguments, Text.hasCase(Repr.str(value), true));
            case "sameas" -> same(value, other(name, arguments));
            case "in" -> Values.contains(other(name, arguments), value);
            case "eq", "equalto", "==" -> Values.equal(value, other(name, arguments));
            case "ne", "!=" -> !Values.equal(value, other(name, arguments));
            case "lt", "lessthan", "<" -> Operators.compare("<", value, other(name, arguments));
            case "le", "<=" -> Operators.compare("<=", value, other(name, arguments));
            case "gt", "greaterthan", ">" -> Operators.compare(">", value, other(name, arguments));
            case "ge", ">=" -> Operators.compare(">=", value, other(name, arguments));
            default -> throw JinjaException.unsupported("the test '" + name + "'");
        };
    }

    private static boolean plain(String name, Arguments arguments, boolean result) {
        arguments.check(name);
        return result;
    }

    private static Object other(String name, Arguments arguments) {
        return arguments.check(name, "other").require(name, 0, "other");
    }

    private static boolean isSequence(Object value) {
        return value instanceof String
                || value instanceof Map<?, ?>
                || value instanceof Undefined
                || Values.indexable(value) != null;
    }

    private static long remainder(Object value, Object divisor) {
        Object rest = Operators.apply("%", value, divisor);
        if (rest instanceof Long number) {
            return number;
        }
        throw JinjaException.unsupported("a divisibility test of '" + Values.typeName(value) + "'");
    }

    /// Python's `is`, where it does not depend on how a Python shares its objects.
    @SuppressWarnings("ReferenceEquality") // identity is what 'sameas' asks for
    private static boolean same(Object value, Object other) {
        if (value instanceof None || value instanceof Boolean || other instanceof None || other instanceof Boolean) {
            return value.equals(other);
        }
        if (value.getClass() != other.getClass() || !Values.equal(value, other)) {
            return false;
        }
        if (value == other && !(value instanceof String) && !Operators.isNumber(value)) {
            return true;
        }
        throw JinjaException.unsupported("the test 'sameas' between equal values that are not true, false or none");
    }
}
