package dev.baton.tokenizer.jinja;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// The filters on single values; [SequenceFilters] has those on sequences.
final class Filters {
    private Filters() {}

    /// `value | name(arguments)`.
    static Object apply(String name, Object value, Arguments arguments) {
        return switch (name) {
            case "default", "d" -> fallback(value, arguments.check(name, "default_value", "boolean"));
            case "trim" ->
                Text.strip(
                        Repr.str(value),
                        StringMethods.stripped(arguments.check(name, "chars").get(0, "chars", None.NONE)),
                        true,
                        true);
            case "upper" -> plain(name, arguments, Repr.str(value).toUpperCase(Locale.ROOT));
            case "lower" -> plain(name, arguments, Repr.str(value).toLowerCase(Locale.ROOT));
            case "capitalize" -> plain(name, arguments, Text.capitalize(Repr.str(value)));
            case "title" -> plain(name, arguments, title(Repr.str(value)));
            case "string", "safe" -> plain(name, arguments, Repr.str(value));
            case "replace" -> replace(value, arguments.check(name, "old", "new", "count"));
            case "tojson" -> Json.from(arguments).write(value);
            case "length", "count" -> plain(name, arguments, Values.length(value));
            case "int" -> integer(value, arguments.check(name, "default", "base"));
            case "float" -> decimal(value, arguments.check(name, "default"));
            case "abs" -> plain(name, arguments, absolute(value));
            case "round" -> round(value, arguments.check(name, "precision", "method"));
            case "indent" -> indent(value, arguments.check(name, "width", "first", "blank"));
            case "items" -> plain(name, arguments, items(value));
            case "attr" ->
                Attributes.attribute(
                        value, Values.string(arguments.check(name, "name").require(name, 0, "name"), "name"));
            case "format" ->
                Formatting.percent(
                        Values.string(value, "the format"),
                        new Tuple(arguments.named().isEmpty() ? arguments.positional() : List.of(arguments.named())));
            default -> SequenceFilters.apply(name, value, arguments);
        };
    }

    private static Object plain(String name, Arguments arguments, Object result) {
        arguments.check(name);
        return result;
    }

    private static Object fallback(Object value, Arguments arguments) {
        boolean falseToo = Values.isTrue(arguments.get(1, "boolean", false));
        boolean missing = value instanceof Undefined || (falseToo && !Values.isTrue(value));
        return missing ? arguments.get(0, "default_value", "") : value;
    }

    /// Jinja's own idea of a title: words begin after white space, hyphens and opening brackets.
    private static String title(String text) {
        StringBuilder out = new StringBuilder(text.length());
        boolean begins = true;
        for (Object character : Text.characters(text)) {
            String c = (String) character;
            boolean separator = Text.isSpace(c.codePointAt(0)) || "-({[<".contains(c);
            out.append(begins ? c.toUpperCase(Locale.ROOT) : c.toLowerCase(Locale.ROOT));
            begins = separator;
        }
        return out.toString();
    }

    private static String replace(Object value, Arguments arguments) {
        Object count = arguments.get(2, "count", None.NONE);
        return Text.replace(
                Repr.str(value),
                Repr.str(arguments.require("replace", 0, "old")),
                Repr.str(arguments.require("replace", 1, "new")),
                count == None.NONE ? -1 : (int) Values.integer(count, "count"));
    }

    private static Object integer(Object value, Arguments arguments) {
        Values.failIfUndefined(value);
        int base = (int) Values.integer(arguments.get(1, "base", 10L), "base");
        if (value instanceof String text) {
            String digits = Text.strip(text, Text::isSpace, true, true);
            if (base != 10 || digits.indexOf('_') >= 0) {
                throw JinjaException.unsupported("the int filter with another base or underscores");
            }
            try {
                return Long.valueOf(digits.startsWith("+") ? digits.substring(1) : digits);
            } catch (NumberFormatException e) {
                if (Text.all(digits, c -> c >= '0' && c <= '9')) {
                    throw JinjaException.unsupported("an integer beyond 64 bits");
                }
            }
        } else if (value instanceof Long || value instanceof Boolean) {
            return Values.integer(value, "value");
        }
        Object number = decimal(value, new Arguments(List.of(None.NONE), Map.of()));
        if (number instanceof Double d && !d.isNaN() && !d.isInfinite()) {
            if (Math.abs(d) >= 0x1p63) {
                throw JinjaException.unsupported("an integer beyond 64 bits");
            }
            return (long) d.doubleValue();
        }
        return arguments.get(0, "default", 0L);
    }

    private static Object decimal(Object value, Arguments arguments) {
        Values.failIfUndefined(value);
        if (Operators.isNumber(value)) {
            return Operators.toDouble(value);
        }
        if (value instanceof String text) {
            String digits = Text.strip(text, Text::isSpace, true, true);
            switch (digits.toLowerCase(Locale.ROOT).replace("+", "").replace("-", "")) {
                case "inf", "infinity" -> {
                    return digits.startsWith("-") ? Double.NEGATIVE_INFINITY : Double.POSITIVE_INFINITY;
                }
                case "nan" -> {
                    return Double.NaN;
                }
                default -> {}
            }
            boolean numeric = Text.all(digits, c -> (c >= '0' && c <= '9') || "+-.eE".indexOf(c) >= 0);
            try {
                if (numeric) {
                    return Double.valueOf(digits);
                }
            } catch (NumberFormatException e) {
                return arguments.get(0, "default", 0.0);
            }
        }
        return arguments.get(0, "default", 0.0);
    }

    private static Object absolute(Object value) {
        Values.failIfUndefined(value);
        return switch (value) {
            case Double number -> Math.abs(number);
            case Long number -> Math.absExact(number);
            case Boolean truth -> truth ? 1L : 0L;
            default -> throw new JinjaException("bad operand type for abs(): '" + Values.typeName(value) + "'");
        };
    }

    private static Object round(Object value, Arguments arguments) {
        Values.failIfUndefined(value);
        int precision = (int) Values.integer(arguments.get(0, "precision", 0L), "precision");
        String method = Values.string(arguments.get(1, "method", "common"), "method");
        if (!Operators.isNumber(value) || value instanceof Boolean) {
            throw new JinjaException("round needs a number, not " + Values.typeName(value));
        }
        double number = Operators.toDouble(value);
        double scale = Math.pow(10, precision);
        return switch (method) {
            case "common" ->
                value instanceof Long && precision >= 0
                        ? value
                        : (Object) new BigDecimal(number)
                                .setScale(precision, RoundingMode.HALF_EVEN)
                                .doubleValue();
            case "ceil" -> Math.ceil(number * scale) / scale;
            case "floor" -> Math.floor(number * scale) / scale;
            default -> throw new JinjaException("method must be common, ceil or floor");
        };
    }

    private static String indent(Object value, Arguments arguments) {
        Object width = arguments.get(0, "width", 4L);
        String margin = width instanceof String text
                ? text
                : " ".repeat(Math.toIntExact(Math.max(0, Values.integer(width, "width"))));
        boolean first = Values.isTrue(arguments.get(1, "first", false));
        boolean blank = Values.isTrue(arguments.get(2, "blank", false));
        List<Object> lines = Text.splitLines(Values.string(value, "the value to indent") + "\n", false);
        List<String> out = new ArrayList<>(lines.size());
        for (Object line : lines) {
            String text = (String) line;
            boolean indented = out.isEmpty() ? first : blank || !text.isEmpty();
            out.add(indented ? margin + text : text);
        }
        return String.join("\n", out);
    }

    private static OneShot items(Object value) {
        if (value instanceof Undefined) {
            return new OneShot(List.of());
        }
        if (value instanceof Map<?, ?> map) {
            return new OneShot(Attributes.pairs(map));
        }
        throw new JinjaException("Can only get item pairs from a mapping.");
    }
}
