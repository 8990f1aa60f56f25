package dev.baton.tokenizer.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.List;
import java.util.Map;

/// Values as text: Python's `str` and `repr`.
final class Repr {
    private Repr() {}

    /// `str(value)`: what `{{ value }}` prints.
    static String str(Object value) {
        return switch (value) {
            case String text -> text;
            case Undefined undefined -> "";
            default -> repr(value);
        };
    }

    static String repr(Object value) {
        StringBuilder out = new StringBuilder();
        repr(value, out);
        return out.toString();
    }

    private static void repr(Object value, StringBuilder out) {
        switch (value) {
            case String text -> quote(text, out);
            case None none -> out.append("None");
            case Boolean truth -> out.append(truth ? "True" : "False");
            case Long number -> out.append(number.longValue());
            case BigInteger number -> out.append(number);
            case Double number -> out.append(number(number));
            case Undefined undefined -> out.append("Undefined");
            case List<?> list -> items(list, "[", "]", out);
            case Tuple tuple -> items(tuple.items(), "(", tuple.items().size() == 1 ? ",)" : ")", out);
            case DictView view -> items(view.items(), view.kind() + "([", "])", out);
            case Map<?, ?> map -> entries(map, "{", "}", out);
            case Namespace namespace -> entries(namespace.attributes(), "<Namespace {", "}>", out);
            default -> throw JinjaException.unsupported("printing a " + Values.typeName(value));
        }
    }

    private static void items(List<?> items, String open, String close, StringBuilder out) {
        out.append(open);
        String separator = "";
        for (Object item : items) {
            out.append(separator);
            repr(item, out);
            separator = ", ";
        }
        out.append(close);
    }

    private static void entries(Map<?, ?> map, String open, String close, StringBuilder out) {
        out.append(open);
        String separator = "";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            out.append(separator);
            repr(entry.getKey(), out);
            out.append(": ");
            repr(entry.getValue(), out);
            separator = ", ";
        }
        out.append(close);
    }

    private static void quote(String text, StringBuilder out) {
        char quote = text.indexOf('\'') >= 0 && text.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote);
        for (int at = 0; at < text.length(); ) {
            int c = text.codePointAt(at);
            at += Character.charCount(c);
            switch (c) {
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\\' -> out.append("\\\\");
                default -> {
                    if (c == quote) {
                        out.append('\\').append(quote);
                    } else if (isPrintable(c)) {
                        out.appendCodePoint(c);
                    } else {
                        out.append(String.format(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c));
                    }
                }
            }
        }
        out.append(quote);
    }

    private static boolean isPrintable(int c) {
        return switch (Character.getType(c)) {
            case Character.CONTROL,
                    Character.FORMAT,
                    Character.SURROGATE,
                    Character.PRIVATE_USE,
                    Character.UNASSIGNED,
                    Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR -> false;
            case Character.SPACE_SEPARATOR -> c == ' ';
            default -> true;
        };
    }

    /// A float as Python prints it: the shortest digits that read back, with an exponent from 1e16 and below 1e-4.
    static String number(double value) {
        if (Double.isNaN(value)) {
            return "nan";
        }
        if (Double.isInfinite(value)) {
            return value > 0 ? "inf" : "-inf";
        }
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal decimal = new BigDecimal(Double.toString(value)).stripTrailingZeros();
        int exponent = decimal.precision() - decimal.scale() - 1;
        if (exponent >= -4 && exponent < 16) {
            String plain = decimal.toPlainString();
            return plain.indexOf('.') < 0 ? plain + ".0" : plain;
        }
        String digits = decimal.unscaledValue().abs().toString();
        return (value < 0 ? "-" : "")
                + digits.charAt(0)
                + (digits.length() > 1 ? "." + digits.substring(1) : "")
                + (exponent < 0 ? "e-" : "e+")
                + (Math.abs(exponent) < 10 ? "0" : "")
                + Math.abs(exponent);
    }
}
