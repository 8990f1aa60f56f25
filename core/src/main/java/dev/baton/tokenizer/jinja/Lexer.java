package dev.baton.tokenizer.jinja;

import dev.baton.tokenizer.jinja.Token.Kind;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/// Splits a template into tokens, with Jinja's whitespace rules under `trim_blocks` and `lstrip_blocks`.
///
/// The newline after a block or comment goes, as does the white space between a line's start and a block or
/// comment; `-` inside a delimiter strips all white space on that side, `+` keeps it. One use, one thread.
final class Lexer {
    private final String source;
    private final List<Token> tokens = new ArrayList<>();
    private int position;
    private int line = 1;
    private boolean lineStarting = true;

    private Lexer(String source) {
        this.source = source;
    }

    static List<Token> tokenize(String template) {
        String source = template.replace("\r\n", "\n").replace('\r', '\n');
        if (source.endsWith("\n")) {
            source = source.substring(0, source.length() - 1);
        }
        Lexer lexer = new Lexer(source);
        lexer.scanTemplate();
        return lexer.tokens;
    }

    private void scanTemplate() {
        while (position < source.length()) {
            int open = nextOpening(position);
            if (open < 0) {
                addData(source.substring(position));
                position = source.length();
                break;
            }
            String text = source.substring(position, open);
            char kind = source.charAt(open + 1);
            int inside = open + 2;
            char sign = inside < source.length() ? source.charAt(inside) : ' ';
            if (sign == '-' || sign == '+') {
                inside++;
            } else {
                sign = ' ';
            }
            int textLine = line;
            addData(stripBefore(text, sign, kind != '{'));
            line = textLine + newlines(text);
            position = inside;
            switch (kind) {
                case '#' -> skipComment();
                case '{' -> scanTag(Kind.VARIABLE_BEGIN, Kind.VARIABLE_END, "}}");
                default -> {
                    int rawBody = rawBegin(inside);
                    if (rawBody >= 0) {
                        scanRaw(rawBody);
                    } else {
                        scanTag(Kind.BLOCK_BEGIN, Kind.BLOCK_END, "%}");
                    }
                }
            }
        }
        tokens.add(new Token(Kind.END, "", "", line));
    }

    private int nextOpening(int from) {
        for (int at = source.indexOf('{', from); at >= 0; at = source.indexOf('{', at + 1)) {
            if (at + 1 < source.length() && "{%#".indexOf(source.charAt(at + 1)) >= 0) {
                return at;
            }
        }
        return -1;
    }

    private void addData(String text) {
        if (!text.isEmpty()) {
            tokens.add(new Token(Kind.DATA, text, text, line));
        }
    }

    private String stripBefore(String text, char sign, boolean mayStripIndent) {
        if (sign == '-') {
            return Text.stripRight(text);
        }
        if (sign == '+' || !mayStripIndent) {
            return text;
        }
        int lineStart = text.lastIndexOf('\n') + 1;
        boolean startsLine = lineStart > 0 || lineStarting;
        return startsLine && Text.isBlank(text, lineStart) ? text.substring(0, lineStart) : text;
    }

    /// The position after `raw %}`, or -1 when the tag at `inside` is another one.
    private int rawBegin(int inside) {
        int at = skipSpace(inside);
        if (!source.startsWith("raw", at)) {
            return -1;
        }
        at = skipSpace(at + 3);
        if (source.startsWith("-%}", at)) {
            return skipSpace(at + 3);
        }
        return source.startsWith("%}", at) ? at + 2 : -1;
    }

    private void scanRaw(int body) {
        int beginLine = line;
        moveTo(body);
        for (int open = source.indexOf("{%", body); open >= 0; open = source.indexOf("{%", open + 1)) {
            int at = open + 2;
            char sign = at < source.length() ? source.charAt(at) : ' ';
            if (sign == '-' || sign == '+') {
                at++;
            }
            at = skipSpace(at);
            if (!source.startsWith("endraw", at)) {
                continue;
            }
            int end = tagEnd(skipSpace(at + 6), "%}", true);
            if (end >= 0) {
                addData(stripBefore(source.substring(body, open), sign, true));
                moveTo(end);
                return;
            }
        }
        throw new JinjaException("'{% raw %}' is never closed", beginLine);
    }

    private void skipComment() {
        int beginLine = line;
        for (int at = position; at < source.length(); at++) {
            int end = tagEnd(at, "#}", true);
            if (end >= 0) {
                moveTo(end);
                return;
            }
        }
        throw new JinjaException("'{#' is never closed", beginLine);
    }

    /// The position behind a closing delimiter at `at` and what it strips, or -1 when there is none.
    private int tagEnd(int at, String delimiter, boolean trimsNewline) {
        if (source.startsWith("-" + delimiter, at)) {
            return skipSpace(at + 1 + delimiter.length());
        }
        if (trimsNewline && source.startsWith("+" + delimiter, at)) {
            return at + 1 + delimiter.length();
        }
        if (!source.startsWith(delimiter, at)) {
            return -1;
        }
        int end = at + delimiter.length();
        return trimsNewline && end < source.length() && source.charAt(end) == '\n' ? end + 1 : end;
    }

    private void scanTag(Kind begin, Kind end, String delimiter) {
        boolean block = begin == Kind.BLOCK_BEGIN;
        int beginLine = line;
        tokens.add(new Token(begin, block ? "{%" : "{{", "", line));
        Deque<Character> open = new ArrayDeque<>();
        while (true) {
            moveTo(skipSpace(position));
            if (position >= source.length()) {
                throw new JinjaException("'" + (block ? "{%" : "{{") + "' is never closed", beginLine);
            }
            int after = open.isEmpty() ? tagEnd(position, delimiter, block) : -1;
            if (after >= 0) {
                tokens.add(new Token(end, delimiter, "", line));
                moveTo(after);
                return;
            }
            scanExpressionToken(open);
        }
    }

    private void scanExpressionToken(Deque<Character> open) {
        char c = source.charAt(position);
        if (c >= '0' && c <= '9') {
            scanNumber();
        } else if (Character.isUnicodeIdentifierStart(source.codePointAt(position)) || c == '_') {
            int end = position;
            while (end < source.length() && isNamePart(source.codePointAt(end))) {
                end += Character.charCount(source.codePointAt(end));
            }
            add(Kind.NAME, source.substring(position, end), end);
        } else if (c == '\'' || c == '"') {
            scanString(c);
        } else {
            scanOperator(c, open);
        }
    }

    private static boolean isNamePart(int codePoint) {
        return codePoint == '_'
                || (Character.isUnicodeIdentifierPart(codePoint) && !Character.isIdentifierIgnorable(codePoint));
    }

    private void scanNumber() {
        if (source.startsWith("0x", position)
                || source.startsWith("0b", position)
                || source.startsWith("0o", position)) {
            throw new JinjaException("a number that is not decimal is not supported", line);
        }
        int end = digits(position);
        boolean afterDot = position > 0 && source.charAt(position - 1) == '.';
        int floatEnd = afterDot ? end : floatEnd(end);
        String text = source.substring(position, floatEnd).replace("_", "");
        try {
            Object value = floatEnd > end ? (Object) Double.valueOf(text) : (Object) Long.valueOf(text);
            tokens.add(new Token(floatEnd > end ? Kind.FLOAT : Kind.INTEGER, text, value, line));
        } catch (NumberFormatException e) {
            throw new JinjaException("number " + text + " is not supported", line);
        }
        moveTo(floatEnd);
    }

    private int floatEnd(int integerEnd) {
        int end = integerEnd;
        if (end + 1 < source.length() && source.charAt(end) == '.' && isDigit(end + 1)) {
            end = digits(end + 1);
        }
        if (end < source.length() && (source.charAt(end) == 'e' || source.charAt(end) == 'E')) {
            int exponent = end + 1;
            if (exponent < source.length() && "+-".indexOf(source.charAt(exponent)) >= 0) {
                exponent++;
            }
            if (isDigit(exponent)) {
                end = digits(exponent);
            }
        }
        return end;
    }

    private boolean isDigit(int at) {
        return at < source.length() && source.charAt(at) >= '0' && source.charAt(at) <= '9';
    }

    private int digits(int from) {
        int at = from;
        while (isDigit(at) || (at < source.length() && source.charAt(at) == '_' && isDigit(at + 1))) {
            at++;
        }
        return at;
    }

    private void scanString(char quote) {
        StringBuilder value = new StringBuilder();
        int at = position + 1;
        while (at < source.length() && source.charAt(at) != quote) {
            char c = source.charAt(at);
            if (c != '\\') {
                value.append(c);
                at++;
            } else {
                at = scanEscape(at + 1, value);
            }
        }
        if (at >= source.length()) {
            throw new JinjaException("a string is never closed", line);
        }
        tokens.add(new Token(Kind.STRING, value.toString(), value.toString(), line));
        moveTo(at + 1);
    }

    /// Reads one of Python's escapes, whose backslash stands before `at`; returns the position behind it.
    private int scanEscape(int at, StringBuilder value) {
        if (at >= source.length()) {
            return at;
        }
        char c = source.charAt(at);
        switch (c) {
            case '\n' -> {}
            case '\\', '\'', '"' -> value.append(c);
            case 'n' -> value.append('\n');
            case 't' -> value.append('\t');
            case 'r' -> value.append('\r');
            case 'b' -> value.append('\b');
            case 'f' -> value.append('\f');
            case 'a' -> value.append('\u0007');
            case 'v' -> value.append('\u000b');
            case 'x' -> {
                return scanHex(at + 1, 2, value);
            }
            case 'u' -> {
                return scanHex(at + 1, 4, value);
            }
            case 'U' -> {
                return scanHex(at + 1, 8, value);
            }
            default -> {
                if (c > 127 || c == 'N' || (c >= '0' && c <= '7')) {
                    throw new JinjaException("the escape '\\" + c + "' is not supported", line);
                }
                value.append('\\').append(c);
            }
        }
        return at + 1;
    }

    private int scanHex(int at, int digits, StringBuilder value) {
        try {
            value.appendCodePoint(Integer.parseInt(source, at, at + digits, 16));
        } catch (IllegalArgumentException | IndexOutOfBoundsException e) {
            throw new JinjaException("a hexadecimal escape needs " + digits + " digits of a character", line);
        }
        return at + digits;
    }

    private void scanOperator(char c, Deque<Character> open) {
        String two = position + 1 < source.length() ? source.substring(position, position + 2) : "";
        String sign = switch (two) {
            case "//", "**", "==", "!=", ">=", "<=" -> two;
            default -> String.valueOf(c);
        };
        switch (c) {
            case '{' -> open.push('}');
            case '(' -> open.push(')');
            case '[' -> open.push(']');
            case '}', ')', ']' -> {
                if (open.isEmpty() || open.pop() != c) {
                    throw new JinjaException("unexpected '" + c + "'", line);
                }
            }
            default -> {
                if (sign.length() == 1 && "+-/*%~<>=.:|,;".indexOf(c) < 0) {
                    throw new JinjaException("unexpected character '" + c + "'", line);
                }
            }
        }
        add(Kind.OPERATOR, sign, position + sign.length());
    }

    private void add(Kind kind, String text, int end) {
        tokens.add(new Token(kind, text, text, line));
        moveTo(end);
    }

    private int skipSpace(int from) {
        int at = from;
        while (at < source.length() && Text.isSpace(source.charAt(at))) {
            at++;
        }
        return at;
    }

    private void moveTo(int end) {
        for (int at = position; at < end; at++) {
            if (source.charAt(at) == '\n') {
                line++;
            }
        }
        if (end > position) {
            lineStarting = source.charAt(end - 1) == '\n';
        }
        position = end;
    }

    private static int newlines(String text) {
        int count = 0;
        for (int at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) {
            count++;
        }
        return count;
    }
}
