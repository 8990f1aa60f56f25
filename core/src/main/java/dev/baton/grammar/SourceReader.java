package dev.baton.grammar;

/// Reads the source of a grammar or regular expression, code point by code point, and says where something is
/// wrong. Not thread-safe.
final class SourceReader {
    static final int END = -1;

    private final String what;
    private final int[] text;
    private int at;

    /// @param what what is read, as it stands in messages: "the regular expression"
    SourceReader(String what, String text) {
        this.what = what;
        this.text = text.codePoints().toArray();
    }

    int position() {
        return at;
    }

    void moveTo(int position) {
        at = position;
    }

    boolean atEnd() {
        return at >= text.length;
    }

    int peek() {
        return peek(0);
    }

    int peek(int ahead) {
        return at + ahead < text.length ? text[at + ahead] : END;
    }

    int next() {
        if (atEnd()) {
            throw error("ends too early");
        }
        return text[at++];
    }

    boolean take(int codePoint) {
        if (peek() == codePoint) {
            at++;
            return true;
        }
        return false;
    }

    boolean take(String expected) {
        if (!looksAt(expected)) {
            return false;
        }
        at += expected.length();
        return true;
    }

    boolean looksAt(String expected) {
        for (int i = 0; i < expected.length(); i++) {
            if (peek(i) != expected.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    void expect(int codePoint) {
        if (!take(codePoint)) {
            throw error("needs '" + Character.toString(codePoint) + "'");
        }
    }

    /// Exactly `digits` hexadecimal digits.
    int hex(int digits) {
        int value = 0;
        for (int i = 0; i < digits; i++) {
            int digit = Character.digit(peek(), 16);
            if (peek() == END || digit < 0) {
                throw error("needs " + digits + " hexadecimal digits");
            }
            value = value << 4 | digit;
            at++;
        }
        return checked(value);
    }

    /// Hexadecimal digits up to a closing brace.
    int hexInBraces() {
        int value = 0;
        int from = at;
        while (!take('}')) {
            int digit = Character.digit(peek(), 16);
            if (peek() == END || digit < 0 || at - from >= 8) {
                throw error("needs up to 8 hexadecimal digits and '}'");
            }
            value = value << 4 | digit;
            at++;
        }
        return checked(value);
    }

    private int checked(int codePoint) {
        if (codePoint < 0 || codePoint > Character.MAX_CODE_POINT) {
            throw error("names a character beyond U+10FFFF");
        }
        return codePoint;
    }

    /// A decimal number of at most nine digits, or -1 if there is none.
    int number() {
        int from = at;
        int value = 0;
        while (peek() >= '0' && peek() <= '9') {
            if (at - from == 9) {
                throw error("has a number of more than 9 digits");
            }
            value = 10 * value + (text[at++] - '0');
        }
        return at == from ? -1 : value;
    }

    String textBetween(int from, int to) {
        return new String(text, from, to - from);
    }

    /// `problem` with what is read and where.
    GrammarException error(String problem) {
        return errorAt(at, problem);
    }

    GrammarException errorAt(int position, String problem) {
        int line = 1;
        for (int i = 0; i < Math.min(position, text.length); i++) {
            line += text[i] == '\n' ? 1 : 0;
        }
        String where = line > 1 ? " (line " + line + ")" : "";
        return new GrammarException(what + " " + problem + " at position " + position + where);
    }
}
