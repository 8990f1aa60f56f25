package dev.baton.tokenizer.jinja;

import java.math.BigInteger;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// `json.dumps` as the `tojson` filter of `transformers` calls it: keys in their order, text outside ASCII kept.
///
/// @param ensureAscii writes `\\u` escapes for everything outside ASCII
/// @param indent what one level is indented by; empty with `pretty` for new lines only
/// @param pretty one item per line
/// @param itemSeparator between items
/// @param keySeparator between a key and its value
/// @param sortKeys orders every object's keys
record Json(
        boolean ensureAscii,
        String indent,
        boolean pretty,
        String itemSeparator,
        String keySeparator,
        boolean sortKeys) {
    static Json from(Arguments arguments) {
        arguments.check("tojson", "ensure_ascii", "indent", "separators", "sort_keys");
        Object indent = arguments.get(1, "indent", None.NONE);
        boolean pretty = indent != None.NONE;
        String unit = switch (indent) {
            case None none -> "";
            case String text -> text;
            default -> " ".repeat(Math.toIntExact(Math.max(0, Values.integer(indent, "indent"))));
        };
        String itemSeparator = pretty ? "," : ", ";
        String keySeparator = ": ";
        Object separators = arguments.get(2, "separators", None.NONE);
        if (separators != None.NONE) {
            List<Object> pair = Values.items(separators);
            if (pair.size() != 2) {
                throw new JinjaException("tojson: separators must be a pair");
            }
            itemSeparator = Values.string(pair.get(0), "a separator");
            keySeparator = Values.string(pair.get(1), "a separator");
        }
        return new Json(
                Values.isTrue(arguments.get(0, "ensure_ascii", false)),
                unit,
                pretty,
                itemSeparator,
                keySeparator,
                Values.isTrue(arguments.get(3, "sort_keys", false)));
    }

    String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, 0, out);
        return out.toString();
    }

    private void write(Object value, int depth, StringBuilder out) {
        switch (value) {
            case None none -> out.append("null");
            case Boolean truth -> out.append(truth.booleanValue());
            case Long number -> out.append(number.longValue());
            case BigInteger number -> out.append(number);
            case Double number -> out.append(number(number));
            case String text -> quote(text, out);
            case List<?> list -> writeItems(list, depth, out);
            case Tuple tuple -> writeItems(tuple.items(), depth, out);
            case Map<?, ?> map -> writeEntries(map, depth, out);
            default ->
                throw new JinjaException("Object of type " + Values.typeName(value) + " is not JSON serializable");
        }
    }

    private static String number(double value) {
        if (Double.isNaN(value)) {
            return "NaN";
        }
        return Double.isInfinite(value) ? (value > 0 ? "Infinity" : "-Infinity") : Repr.number(value);
    }

    private void writeItems(List<?> items, int depth, StringBuilder out) {
        out.append('[');
        boolean first = true;
        for (Object item : items) {
            beginItem(first, depth + 1, out);
            write(item, depth + 1, out);
            first = false;
        }
        end(']', first, depth, out);
    }

    private void writeEntries(Map<?, ?> map, int depth, StringBuilder out) {
        Map<?, ?> ordered = map;
        if (sortKeys) {
            Map<Object, Object> sorted = new TreeMap<>(Values::compare);
            sorted.putAll(map);
            ordered = sorted;
        }
        out.append('{');
        boolean first = true;
        for (Map.Entry<?, ?> entry : ordered.entrySet()) {
            beginItem(first, depth + 1, out);
            quote(key(entry.getKey()), out);
            out.append(keySeparator);
            write(entry.getValue(), depth + 1, out);
            first = false;
        }
        end('}', first, depth, out);
    }

    private static String key(Object key) {
        return switch (key) {
            case String text -> text;
            case Long number -> Long.toString(number);
            case None none -> "null";
            default -> throw new JinjaException("a JSON object's key must be a string, not " + Values.typeName(key));
        };
    }

    private void beginItem(boolean first, int depth, StringBuilder out) {
        if (!first) {
            out.append(itemSeparator);
        }
        if (pretty) {
            out.append('\n').repeat(indent, depth);
        }
    }

    private void end(char bracket, boolean empty, int depth, StringBuilder out) {
        if (pretty && !empty) {
            out.append('\n').repeat(indent, depth);
        }
        out.append(bracket);
    }

    private void quote(String text, StringBuilder out) {
        out.append('"');
        for (int at = 0; at < text.length(); at++) {
            char c = text.charAt(at);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\b' -> out.append("\\b");
                case '\f' -> out.append("\\f");
                default -> {
                    if (c < 0x20 || (ensureAscii && c > 0x7e)) {
                        appendEscape(c, out);
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }

    private static void appendEscape(char c, StringBuilder out) {
        if (c == 0x7f) {
            out.append(c);
            return;
        }
        out.append("\\u");
        for (int shift = 12; shift >= 0; shift -= 4) {
            out.append(Character.forDigit((c >> shift) & 0xf, 16));
        }
    }
}
