package dev.baton.transfer.mooncake;

import dev.baton.wire.Fields;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Reads and writes the JSON of Mooncake's handshake, bootstrap server and configuration, as the plain Java
/// objects that [Fields] reads. Small, because this room knows no JSON library, and strict: a document is
/// bounded by who reads it, nesting by [#MAX_NESTING], and anything that RFC 8259 does not allow is refused.
///
/// A reader is used once; the two methods for callers are thread-safe.
public final class SmallJson {
    /// Deepest nesting that is read.
    static final int MAX_NESTING = 16;

    private final String in;
    private int at;

    private SmallJson(String in) {
        this.in = in;
    }

    /// Reads one object.
    public static Fields map(String what, byte[] utf8) throws ProtocolException {
        String text;
        try {
            text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(utf8))
                    .toString();
        } catch (CharacterCodingException e) {
            throw (ProtocolException) new ProtocolException(what + " is not UTF-8").initCause(e);
        }
        SmallJson reader = new SmallJson(text);
        Object value = reader.value(0);
        reader.blanks();
        if (value == null || reader.at < text.length()) {
            throw reader.malformed();
        }
        return Fields.of(what, value);
    }

    private @Nullable Object value(int depth) throws ProtocolException {
        blanks();
        if (depth > MAX_NESTING) {
            throw malformed();
        }
        return switch (peek()) {
            case '{' -> object(depth);
            case '[' -> array(depth);
            case '"' -> text();
            case 't' -> word("true", true);
            case 'f' -> word("false", false);
            case 'n' -> word("null", null);
            default -> number();
        };
    }

    private Map<String, Object> object(int depth) throws ProtocolException {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        blanks();
        if (peek() == '}') {
            at++;
            return map;
        }
        while (true) {
            blanks();
            String key = text();
            blanks();
            expect(':');
            Object value = value(depth + 1);
            if (value != null && map.put(key, value) != null) {
                throw malformed();
            }
            if (endsAfterPart('}')) {
                return map;
            }
        }
    }

    private List<Object> array(int depth) throws ProtocolException {
        List<Object> list = new ArrayList<>();
        at++;
        blanks();
        if (peek() == ']') {
            at++;
            return list;
        }
        while (true) {
            Object value = value(depth + 1);
            if (value == null) {
                throw malformed();
            }
            list.add(value);
            if (endsAfterPart(']')) {
                return list;
            }
        }
    }

    private boolean endsAfterPart(char end) throws ProtocolException {
        blanks();
        if (peek() == end) {
            at++;
            return true;
        }
        expect(',');
        return false;
    }

    private String text() throws ProtocolException {
        expect('"');
        StringBuilder text = new StringBuilder();
        while (true) {
            char c = peek();
            at++;
            if (c == '"') {
                return text.toString();
            }
            if (c < ' ') {
                throw malformed();
            }
            text.append(c == '\\' ? escaped() : c);
        }
    }

    private char escaped() throws ProtocolException {
        char c = peek();
        at++;
        return switch (c) {
            case '"', '\\', '/' -> c;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'u' -> {
                int code = 0;
                for (int i = 0; i < 4; i++, at++) {
                    int digit = Character.digit(peek(), 16);
                    if (digit < 0) {
                        throw malformed();
                    }
                    code = code << 4 | digit;
                }
                yield (char) code;
            }
            default -> throw malformed();
        };
    }

    private Object number() throws ProtocolException {
        int from = at;
        while (at < in.length() && "+-.0123456789eE".indexOf(in.charAt(at)) >= 0) {
            at++;
        }
        String digits = in.substring(from, at);
        try {
            if (digits.matches("0|[1-9][0-9]{0,19}")) {
                return Long.parseUnsignedLong(digits);
            }
            if (digits.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
                double number = Double.parseDouble(digits);
                boolean whole = digits.matches("-[1-9][0-9]{0,17}");
                return whole ? (Object) Long.valueOf(digits) : (Object) number;
            }
        } catch (NumberFormatException e) {
            throw (ProtocolException) malformed().initCause(e);
        }
        throw malformed();
    }

    private @Nullable Object word(String word, @Nullable Object value) throws ProtocolException {
        if (!in.startsWith(word, at)) {
            throw malformed();
        }
        at += word.length();
        return value;
    }

    private void blanks() {
        while (at < in.length() && " \t\r\n".indexOf(in.charAt(at)) >= 0) {
            at++;
        }
    }

    private char peek() throws ProtocolException {
        if (at >= in.length()) {
            throw malformed();
        }
        return in.charAt(at);
    }

    private void expect(char c) throws ProtocolException {
        if (peek() != c) {
            throw malformed();
        }
        at++;
    }

    private ProtocolException malformed() {
        return new ProtocolException("malformed JSON at character " + at);
    }

    /// Writes a value.
    static byte[] bytes(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void write(StringBuilder out, Object value) {
        switch (value) {
            case Map<?, ?> map -> {
                char before = '{';
                for (Map.Entry<?, ?> entry : map.entrySet()) {
                    quote(out.append(before), String.valueOf(entry.getKey()));
                    write(out.append(':'), entry.getValue());
                    before = ',';
                }
                out.append(map.isEmpty() ? "{}" : "}");
            }
            case List<?> list -> {
                char before = '[';
                for (Object each : list) {
                    write(out.append(before), each);
                    before = ',';
                }
                out.append(list.isEmpty() ? "[]" : "]");
            }
            case String text -> quote(out, text);
            default -> out.append(value);
        }
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append("\\u%04x".formatted((int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
