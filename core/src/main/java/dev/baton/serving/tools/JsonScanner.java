package dev.baton.serving.tools;

import java.util.BitSet;

/// Follows one JSON value (RFC 8259) character by character and knows where it ends. One thread.
final class JsonScanner {
    /// Deepest nesting that is followed.
    static final int MAX_DEPTH = 500;

    /// What a character was.
    enum Status {
        /// A part of the value, which goes on.
        MORE,
        /// The last character of the value.
        END,
        /// The first character behind the value, which was a number.
        END_BEFORE,
        /// No JSON.
        BAD
    }

    private enum State {
        VALUE,
        VALUE_OR_END,
        KEY,
        KEY_OR_END,
        COLON,
        NEXT,
        STRING,
        ESCAPE,
        HEX,
        LITERAL,
        MINUS,
        ZERO,
        INTEGER,
        POINT,
        FRACTION,
        EXPONENT,
        EXPONENT_SIGN,
        EXPONENT_DIGITS
    }

    private final BitSet objects = new BitSet(); // by depth: whether the container is an object
    private int depth;
    private State state = State.VALUE;
    private boolean inKey;
    private int hexDigits;
    private String literal = "";
    private int literalAt;

    /// Takes the next character. White space before the value is a part of it.
    Status accept(char c) {
        return switch (state) {
            case STRING -> inString(c);
            case ESCAPE -> {
                hexDigits = 4;
                state = c == 'u' ? State.HEX : State.STRING;
                yield "\"\\/bfnrtu".indexOf(c) < 0 ? Status.BAD : Status.MORE;
            }
            case HEX -> {
                if (--hexDigits == 0) {
                    state = State.STRING;
                }
                yield Character.digit(c, 16) < 0 || c > 'f' ? Status.BAD : Status.MORE;
            }
            case LITERAL -> {
                if (c != literal.charAt(literalAt++)) {
                    yield Status.BAD;
                }
                yield literalAt == literal.length() ? valueEnded() : Status.MORE;
            }
            case MINUS, ZERO, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS -> inNumber(c);
            default -> isSpace(c) ? Status.MORE : between(c);
        };
    }

    /// Whether the value is complete if nothing more comes: only a number can tell no earlier.
    boolean endsHere() {
        return depth == 0 && numberMayEnd();
    }

    static boolean isSpace(char c) {
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
    }

    private Status between(char c) {
        return switch (state) {
            case VALUE_OR_END -> c == ']' ? close() : beginValue(c);
            case VALUE -> beginValue(c);
            case KEY_OR_END -> c == '}' ? close() : beginKey(c);
            case KEY -> beginKey(c);
            case COLON -> {
                state = State.VALUE;
                yield c == ':' ? Status.MORE : Status.BAD;
            }
            default -> next(c);
        };
    }

    /// What follows a value in its container.
    private Status next(char c) {
        boolean inObject = objects.get(depth);
        if (c == ',') {
            state = inObject ? State.KEY : State.VALUE;
            return Status.MORE;
        }
        return c == (inObject ? '}' : ']') ? close() : Status.BAD;
    }

    private Status beginKey(char c) {
        inKey = true;
        state = State.STRING;
        return c == '"' ? Status.MORE : Status.BAD;
    }

    private Status beginValue(char c) {
        switch (c) {
            case '{', '[' -> {
                if (++depth > MAX_DEPTH) {
                    return Status.BAD;
                }
                objects.set(depth, c == '{');
                state = c == '{' ? State.KEY_OR_END : State.VALUE_OR_END;
            }
            case '"' -> {
                inKey = false;
                state = State.STRING;
            }
            case 't', 'f', 'n' -> {
                literal = c == 't' ? "true" : c == 'f' ? "false" : "null";
                literalAt = 1;
                state = State.LITERAL;
            }
            case '-' -> state = State.MINUS;
            case '0' -> state = State.ZERO;
            default -> {
                if (!isDigit(c)) {
                    return Status.BAD;
                }
                state = State.INTEGER;
            }
        }
        return Status.MORE;
    }

    private Status inString(char c) {
        if (c == '"') {
            if (inKey) {
                state = State.COLON;
                return Status.MORE;
            }
            return valueEnded();
        }
        if (c == '\\') {
            state = State.ESCAPE;
        }
        return c < ' ' ? Status.BAD : Status.MORE;
    }

    private Status inNumber(char c) {
        boolean digit = isDigit(c);
        State next = switch (state) {
            case MINUS -> c == '0' ? State.ZERO : digit ? State.INTEGER : State.VALUE;
            case ZERO -> afterInteger(c);
            case INTEGER -> digit ? State.INTEGER : afterInteger(c);
            case POINT, FRACTION -> digit ? State.FRACTION : fractionEnd(c);
            case EXPONENT -> c == '+' || c == '-' ? State.EXPONENT_SIGN : digit ? State.EXPONENT_DIGITS : State.VALUE;
            default -> digit ? State.EXPONENT_DIGITS : State.VALUE;
        };
        if (next != State.VALUE) {
            state = next;
            return Status.MORE;
        }
        if (!numberMayEnd()) {
            return Status.BAD;
        }
        if (valueEnded() == Status.END) {
            return Status.END_BEFORE;
        }
        return accept(c);
    }

    private static State afterInteger(char c) {
        return c == '.' ? State.POINT : c == 'e' || c == 'E' ? State.EXPONENT : State.VALUE;
    }

    private State fractionEnd(char c) {
        return state == State.FRACTION && (c == 'e' || c == 'E') ? State.EXPONENT : State.VALUE;
    }

    private boolean numberMayEnd() {
        return switch (state) {
            case ZERO, INTEGER, FRACTION, EXPONENT_DIGITS -> true;
            default -> false;
        };
    }

    private Status close() {
        depth--;
        return valueEnded();
    }

    private Status valueEnded() {
        state = State.NEXT;
        return depth == 0 ? Status.END : Status.MORE;
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }
}
