package dev.baton.serving.tools;

import dev.baton.http.Json;
import dev.baton.openai.Text;
import java.math.BigInteger;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;

/// Writes a Python literal as JSON: strings, numbers, `True`, `False`, `None` (JSON's words as well), lists,
/// tuples, sets and dictionaries of them. Tuples and sets become arrays.
final class PythonLiteral {
    private static final Pattern INTEGER = Pattern.compile("[0-9](_?[0-9])*");
    private static final Pattern FLOAT =
            Pattern.compile("([0-9](_?[0-9])*\\.?([0-9](_?[0-9])*)?|\\.[0-9](_?[0-9])*)([eE][+-]?[0-9](_?[0-9])*)?");
    private static final Pattern RADIX = Pattern.compile("0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+");

    private final String text;
    private int at;
    private int depth;

    private PythonLiteral(String text) {
        this.text = text;
    }

    private static final class NoLiteral extends RuntimeException {
        private static final long serialVersionUID = 1;

        private NoLiteral() {
            super("", null, false, false);
        }
    }

    /// The JSON of a literal.
    ///
    /// @return empty if the text is not exactly one literal
    static Optional<String> toJson(String text) {
        PythonLiteral literal = new PythonLiteral(text);
        try {
            StringBuilder json = new StringBuilder();
            literal.value(json);
            literal.space();
            return literal.at == text.length() ? Optional.of(json.toString()) : Optional.empty();
        } catch (NoLiteral e) {
            return Optional.empty();
        }
    }

    private void value(StringBuilder out) {
        if (++depth > JsonScanner.MAX_DEPTH) {
            throw new NoLiteral();
        }
        space();
        switch (peek()) {
            case '[' -> list(out, ']');
            case '(' -> tuple(out);
            case '{' -> braces(out);
            default -> scalar(out);
        }
        depth--;
    }

    private void list(StringBuilder out, char end) {
        at++;
        out.append('[');
        items(out, end);
        out.append(']');
    }

    /// Items up to `end`, which is taken.
    ///
    /// @return whether there was a comma
    private boolean items(StringBuilder out, char end) {
        boolean comma = false;
        for (boolean first = true; !ends(end); first = false) {
            if (!first) {
                out.append(", ");
            }
            value(out);
            boolean more = comma();
            comma |= more;
            if (!more && !ends(end)) {
                throw new NoLiteral();
            }
        }
        at++;
        return comma;
    }

    private void tuple(StringBuilder out) {
        at++;
        StringBuilder inner = new StringBuilder();
        boolean group = !items(inner, ')') && !inner.isEmpty();
        out.append(group ? inner : "[" + inner + "]");
    }

    private void braces(StringBuilder out) {
        int from = at++;
        if (ends('}')) {
            at++;
            out.append("{}");
            return;
        }
        StringBuilder first = new StringBuilder();
        value(first);
        space();
        if (peek() != ':') {
            at = from;
            list(out, '}');
            return;
        }
        out.append('{');
        key(first, out);
        while (true) {
            at++; // the colon
            out.append(": ");
            value(out);
            boolean more = comma();
            if (ends('}')) {
                at++;
                out.append('}');
                return;
            }
            if (!more) {
                throw new NoLiteral();
            }
            out.append(", ");
            StringBuilder next = new StringBuilder();
            value(next);
            key(next, out);
            space();
            if (peek() != ':') {
                throw new NoLiteral();
            }
        }
    }

    private static void key(StringBuilder json, StringBuilder out) {
        switch (json.charAt(0)) {
            case '"' -> out.append(json);
            case '[', '{' -> throw new NoLiteral();
            default -> out.append('"').append(json).append('"');
        }
    }

    private void scalar(StringBuilder out) {
        char c = peek();
        if (isQuoteAhead()) {
            StringBuilder string = new StringBuilder();
            do {
                string(string);
                space();
            } while (at < text.length() && isQuoteAhead()); // literals side by side are one
            if (Text.indexOfLoneSurrogate(string.toString()) >= 0) {
                throw new NoLiteral();
            }
            out.append(Json.text(string.toString()));
        } else if (c == '-' || c == '+') {
            at++;
            space();
            if (!Character.isDigit(peek()) && peek() != '.') {
                throw new NoLiteral();
            }
            out.append(c == '-' ? "-" : "");
            out.append(number());
        } else if (Character.isDigit(c) || c == '.') {
            out.append(number());
        } else {
            out.append(
                    switch (word()) {
                        case "True", "true" -> "true";
                        case "False", "false" -> "false";
                        case "None", "null" -> "null";
                        default -> throw new NoLiteral();
                    });
        }
    }

    private String word() {
        int from = at;
        while (at < text.length() && (Character.isLetterOrDigit(text.charAt(at)) || text.charAt(at) == '_')) {
            at++;
        }
        return text.substring(from, at);
    }

    private String number() {
        int from = at;
        while (at < text.length() && isNumberCharacter(from)) {
            at++;
        }
        String said = text.substring(from, at);
        if (RADIX.matcher(said).matches()) {
            int radix = switch (said.charAt(1)) {
                case 'x', 'X' -> 16;
                case 'o', 'O' -> 8;
                default -> 2;
            };
            return new BigInteger(said.substring(2), radix).toString();
        }
        String plain = said.replace("_", "");
        if (INTEGER.matcher(said).matches()) {
            return plain.replaceFirst("^0+(?=[0-9])", "");
        }
        if (!FLOAT.matcher(said).matches()) {
            throw new NoLiteral();
        }
        String lower = plain.toLowerCase(Locale.ROOT);
        int e = lower.indexOf('e');
        String mantissa = e < 0 ? lower : lower.substring(0, e);
        String whole = mantissa.startsWith(".") ? "0" + mantissa : mantissa.replaceFirst("^0+(?=[0-9])", "");
        return (whole.endsWith(".") ? whole + "0" : whole) + (e < 0 ? "" : lower.substring(e));
    }

    private boolean isNumberCharacter(int from) {
        char c = text.charAt(at);
        boolean sign = (c == '+' || c == '-')
                && at > from
                && (text.charAt(at - 1) == 'e' || text.charAt(at - 1) == 'E')
                && !text.startsWith("0x", from)
                && !text.startsWith("0X", from);
        return Character.isLetterOrDigit(c) || c == '_' || c == '.' || sign;
    }

    /// Whether a string begins here, perhaps with a prefix.
    private boolean isQuoteAhead() {
        char c = text.charAt(at);
        if (c == '"' || c == '\'') {
            return true;
        }
        char next = at + 1 < text.length() ? text.charAt(at + 1) : ' ';
        return "rRuUfF".indexOf(c) >= 0 && (next == '"' || next == '\'');
    }

    private void string(StringBuilder out) {
        char prefix = text.charAt(at);
        boolean prefixed = prefix != '"' && prefix != '\'';
        if (prefixed) {
            at++;
        }
        boolean raw = prefix == 'r' || prefix == 'R';
        boolean formatted = prefix == 'f' || prefix == 'F';
        String quote = text.substring(at, at + 1);
        if (text.startsWith(quote.repeat(3), at)) {
            quote = quote.repeat(3);
        }
        at += quote.length();
        while (!text.startsWith(quote, at)) {
            char c = peek();
            if ((c == '\n' && quote.length() == 1) || (formatted && (c == '{' || c == '}'))) {
                throw new NoLiteral();
            }
            at++;
            if (c != '\\') {
                out.append(c);
            } else if (raw) {
                out.append(c).append(peek());
                at++;
            } else {
                escape(out);
            }
        }
        at += quote.length();
    }

    private void escape(StringBuilder out) {
        char c = peek();
        at++;
        switch (c) {
            case '\n' -> {}
            case 'n' -> out.append('\n');
            case 't' -> out.append('\t');
            case 'r' -> out.append('\r');
            case 'a' -> out.append('\u0007');
            case 'b' -> out.append('\b');
            case 'f' -> out.append('\f');
            case 'v' -> out.append('\u000b');
            case '\\', '\'', '"' -> out.append(c);
            case 'x' -> out.appendCodePoint(hex(2));
            case 'u' -> out.appendCodePoint(hex(4));
            case 'U' -> out.appendCodePoint(hex(8));
            default -> {
                if (c >= '0' && c <= '7') {
                    at--;
                    out.append((char) octal());
                } else {
                    out.append('\\').append(c); // Python keeps what is no escape
                }
            }
        }
    }

    private int hex(int digits) {
        if (at + digits > text.length()) {
            throw new NoLiteral();
        }
        int value = 0;
        for (int i = 0; i < digits; i++) {
            int digit = Character.digit(text.charAt(at++), 16);
            if (digit < 0) {
                throw new NoLiteral();
            }
            value = value << 4 | digit;
        }
        if (!Character.isValidCodePoint(value)) {
            throw new NoLiteral();
        }
        return value;
    }

    private int octal() {
        int value = 0;
        for (int i = 0; i < 3 && at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '7'; i++) {
            value = value << 3 | text.charAt(at++) - '0';
        }
        return value;
    }

    private boolean comma() {
        space();
        if (at < text.length() && text.charAt(at) == ',') {
            at++;
            return true;
        }
        return false;
    }

    private boolean ends(char end) {
        space();
        return peek() == end;
    }

    private char peek() {
        if (at >= text.length()) {
            throw new NoLiteral();
        }
        return text.charAt(at);
    }

    private void space() {
        while (at < text.length() && JsonScanner.isSpace(text.charAt(at))) {
            at++;
        }
    }
}
