package dev.baton.tokenizer.jinja;

import java.util.List;
import java.util.Map;

/// The plain forms of Python's two ways to fill in a string: `%s %d %r %%`, and `{}`, `{0}`, `{name}`.
final class Formatting {
    private Formatting() {}

    /// `format % values`.
    static String percent(String format, Object values) {
        List<Object> items = values instanceof Tuple tuple ? tuple.items() : List.of(values);
        StringBuilder out = new StringBuilder();
        int used = 0;
        int at = 0;
        while (at < format.length()) {
            char c = format.charAt(at++);
            if (c != '%') {
                out.append(c);
                continue;
            }
            char kind = at < format.length() ? format.charAt(at++) : ' ';
            if (kind == '%') {
                out.append('%');
                continue;
            }
            if ("sdir".indexOf(kind) < 0) {
                throw JinjaException.unsupported("the format '%" + kind + "'");
            }
            if (used == items.size()) {
                throw new JinjaException("not enough arguments for format string");
            }
            Object item = items.get(used++);
            out.append(
                    switch (kind) {
                        case 's' -> Repr.str(item);
                        case 'r' -> Repr.repr(item);
                        default ->
                            item instanceof Double number
                                    ? Long.toString((long) number.doubleValue())
                                    : Long.toString(Values.integer(item, "the value for '%d'"));
                    });
        }
        if (used < items.size() && !(values instanceof Map<?, ?>)) {
            throw new JinjaException("not all arguments converted during string formatting");
        }
        return out.toString();
    }

    /// `format.format(arguments)`.
    static String braces(String format, Arguments arguments) {
        StringBuilder out = new StringBuilder();
        int automatic = 0;
        int at = 0;
        while (at < format.length()) {
            char c = format.charAt(at++);
            if ((c == '{' || c == '}') && at < format.length() && format.charAt(at) == c) {
                out.append(c);
                at++;
            } else if (c == '{') {
                int end = format.indexOf('}', at);
                if (end < 0) {
                    throw new JinjaException("expected '}' before end of string");
                }
                String field = format.substring(at, end);
                out.append(Repr.str(field(field.isEmpty() ? Integer.toString(automatic++) : field, arguments)));
                at = end + 1;
            } else if (c == '}') {
                throw new JinjaException("single '}' encountered in format string");
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }

    private static Object field(String field, Arguments arguments) {
        if (Text.all(field, c -> c >= '0' && c <= '9') && field.length() < 9) {
            int index = Integer.parseInt(field);
            if (index >= arguments.positional().size()) {
                throw new JinjaException("format(): no argument " + index);
            }
            return arguments.positional().get(index);
        }
        Object value = arguments.named().get(field);
        if (value == null) {
            throw JinjaException.unsupported("the format field '{" + field + "}'");
        }
        return value;
    }
}
