package dev.baton.transfer.mooncake;

import java.io.ByteArrayOutputStream;
import java.net.ProtocolException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Reads and writes the MessagePack of the side channel: maps with text keys, lists, texts, whole numbers, doubles
/// and booleans, as the plain Java objects that [Fields] reads.
///
/// Strict, because the bytes come from whoever reaches a port: binary data, extensions, a key twice, text that is
/// not UTF-8 and anything after the value are refused, and no count is believed before the bytes for it are there.
/// Writes the shortest forms, as msgspec does. Stateless and thread-safe. Format: the specification of
/// msgpack/msgpack.
final class MsgPack {
    /// Deepest nesting that is read.
    static final int MAX_NESTING = 16;

    private MsgPack() {}

    /// Reads one map.
    static Fields map(String what, byte[] message) throws ProtocolException {
        ByteBuffer in = ByteBuffer.wrap(message);
        try {
            Object value = value(in, 0);
            if (value == null || in.hasRemaining()) {
                throw malformed(in, "nothing or too much");
            }
            return Fields.of(what, value);
        } catch (BufferUnderflowException e) {
            throw (ProtocolException) malformed(in, "too few bytes").initCause(e);
        }
    }

    private static @Nullable Object value(ByteBuffer in, int depth) throws ProtocolException {
        int head = in.get() & 0xff;
        return switch (head) {
            case 0xc0 -> null;
            case 0xc2 -> false;
            case 0xc3 -> true;
            case 0xca -> (double) in.getFloat();
            case 0xcb -> in.getDouble();
            case 0xcc -> in.get() & 0xffL;
            case 0xcd -> in.getShort() & 0xffffL;
            case 0xce -> in.getInt() & 0xffff_ffffL;
            case 0xcf -> in.getLong(); // an address may have all 64 bits; as a count it is negative, and refused
            case 0xd0 -> (long) in.get();
            case 0xd1 -> (long) in.getShort();
            case 0xd2 -> (long) in.getInt();
            case 0xd3 -> in.getLong();
            case 0xd9 -> text(in, in.get() & 0xff);
            case 0xda -> text(in, in.getShort() & 0xffff);
            case 0xdb -> text(in, in.getInt());
            case 0xdc -> list(in, in.getShort() & 0xffff, depth);
            case 0xdd -> list(in, in.getInt(), depth);
            case 0xde -> map(in, in.getShort() & 0xffff, depth);
            case 0xdf -> map(in, in.getInt(), depth);
            default -> small(in, head, depth);
        };
    }

    /// Values whose first byte holds their size as well, or all of them.
    private static Object small(ByteBuffer in, int head, int depth) throws ProtocolException {
        if (head < 0x80 || head >= 0xe0) {
            return (long) (byte) head;
        }
        if (head < 0x90) {
            return map(in, head & 0x0f, depth);
        }
        if (head < 0xa0) {
            return list(in, head & 0x0f, depth);
        }
        if (head < 0xc0) {
            return text(in, head & 0x1f);
        }
        throw malformed(in, "a value of type 0x%02x".formatted(head));
    }

    private static Map<String, Object> map(ByteBuffer in, int size, int depth) throws ProtocolException {
        check(in, size, 2, depth);
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < size; i++) {
            if (!(value(in, depth + 1) instanceof String key)) {
                throw malformed(in, "a key that is no text");
            }
            Object value = value(in, depth + 1);
            if (value != null && map.put(key, value) != null) {
                throw malformed(in, "a key twice");
            }
        }
        return map;
    }

    private static List<Object> list(ByteBuffer in, int size, int depth) throws ProtocolException {
        check(in, size, 1, depth);
        List<Object> list = new ArrayList<>(size);
        for (int i = 0; i < size; i++) {
            Object value = value(in, depth + 1);
            if (value == null) {
                throw malformed(in, "nil in a list");
            }
            list.add(value);
        }
        return list;
    }

    private static void check(ByteBuffer in, int size, int leastBytes, int depth) throws ProtocolException {
        if (depth >= MAX_NESTING) {
            throw malformed(in, "more than " + MAX_NESTING + " levels");
        }
        if (size < 0 || size > in.remaining() / leastBytes) {
            throw malformed(in, "more parts than bytes");
        }
    }

    private static String text(ByteBuffer in, int numBytes) throws ProtocolException {
        if (numBytes < 0 || numBytes > in.remaining()) {
            throw malformed(in, "text that ends early");
        }
        ByteBuffer bytes = in.slice(in.position(), numBytes);
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
            in.position(in.position() + numBytes);
            return text;
        } catch (CharacterCodingException e) {
            throw (ProtocolException) malformed(in, "text that is not UTF-8").initCause(e);
        }
    }

    private static ProtocolException malformed(ByteBuffer in, String what) {
        return new ProtocolException("a MessagePack message with %s at byte %d".formatted(what, in.position()));
    }

    /// Writes a value.
    static byte[] bytes(Object value) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        write(out, value);
        return out.toByteArray();
    }

    private static void write(ByteArrayOutputStream out, Object value) {
        switch (value) {
            case Map<?, ?> map -> {
                head(out, map.size(), 0x80, 16, 0xde);
                map.forEach((key, each) -> {
                    write(out, String.valueOf(key));
                    write(out, each);
                });
            }
            case List<?> list -> {
                head(out, list.size(), 0x90, 16, 0xdc);
                list.forEach(each -> write(out, each));
            }
            case long[] numbers -> {
                head(out, numbers.length, 0x90, 16, 0xdc);
                for (long number : numbers) {
                    number(out, number);
                }
            }
            case String text -> text(out, text);
            case Boolean bool -> out.write(bool ? 0xc3 : 0xc2);
            case Double number -> big(out, 0xcb, Double.doubleToRawLongBits(number), Long.BYTES);
            case Number number -> number(out, number.longValue());
            default -> throw new IllegalArgumentException("no MessagePack for " + value.getClass());
        }
    }

    private static void text(ByteArrayOutputStream out, String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        if (utf8.length >= 32 && utf8.length < 256) {
            big(out, 0xd9, utf8.length, Byte.BYTES);
        } else {
            head(out, utf8.length, 0xa0, 32, 0xda);
        }
        out.writeBytes(utf8);
    }

    /// @param mediumForm the first byte of the form with two bytes of size; that with four comes next
    private static void head(ByteArrayOutputStream out, int size, int smallForm, int smallSizes, int mediumForm) {
        if (size < smallSizes) {
            out.write(smallForm | size);
        } else if (size < 1 << 16) {
            big(out, mediumForm, size, Short.BYTES);
        } else {
            big(out, mediumForm + 1, size, Integer.BYTES);
        }
    }

    private static void number(ByteArrayOutputStream out, long number) {
        if (number >= -32 && number < 128) {
            out.write((int) number);
        } else if (number < 0) {
            big(out, 0xd3, number, Long.BYTES);
        } else if (number < 1 << 8) {
            big(out, 0xcc, number, Byte.BYTES);
        } else if (number < 1 << 16) {
            big(out, 0xcd, number, Short.BYTES);
        } else if (number < 1L << 32) {
            big(out, 0xce, number, Integer.BYTES);
        } else {
            big(out, 0xcf, number, Long.BYTES);
        }
    }

    private static void big(ByteArrayOutputStream out, int form, long bits, int numBytes) {
        out.write(form);
        for (int shift = 8 * (numBytes - 1); shift >= 0; shift -= 8) {
            out.write((int) (bits >>> shift));
        }
    }
}
