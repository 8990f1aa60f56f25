package dev.baton.wire;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ProtocolException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// MessagePack as Python's msgpack and msgspec write and read it: nil, booleans, integers of 63 bits, doubles,
/// text, binary, lists, and maps with text keys, as [Nil], [Boolean], [Long], [Double], [String], `byte[]`,
/// [List] and [Map].
///
/// Reading is strict, since the bytes come from whoever reaches a port: a key twice, text that is not UTF-8,
/// extensions and anything after the value are refused, no count is believed before its bytes are there, and depth
/// and number of values are limited, so that a message takes little more memory than it has bytes. How long a
/// message may be is its reader's to say. Stateless, thread-safe. Format: the specification of msgpack/msgpack.
public final class MsgPack {
    /// Deepest nesting that is read.
    public static final int MAX_NESTING = 16;

    /// Most values of one message, keys included.
    public static final int MAX_VALUES = 1 << 20;

    private static final int FIRST_PARTS = 64; // of a list or map, before more memory is taken for it

    /// The value of a field that is there and empty.
    public enum Nil {
        /// The only one.
        NIL
    }

    private final ByteBuffer in;
    private int numValues;

    private MsgPack(byte[] message) {
        in = ByteBuffer.wrap(message);
    }

    /// Reads one value.
    ///
    /// @throws ProtocolException if the bytes are anything else
    public static Object read(byte[] message) throws ProtocolException {
        MsgPack reader = new MsgPack(message);
        Object value;
        try {
            value = reader.value(0);
        } catch (BufferUnderflowException e) {
            throw malformed("ends early, after %d bytes".formatted(message.length));
        }
        if (reader.in.hasRemaining()) {
            throw malformed("goes on after its value");
        }
        return value;
    }

    /// Reads one map.
    ///
    /// @param what names it in messages
    /// @throws ProtocolException if the bytes are anything else
    public static Fields map(String what, byte[] message) throws ProtocolException {
        return Fields.of(what, read(message));
    }

    private Object value(int depth) throws ProtocolException {
        if (++numValues > MAX_VALUES) {
            throw malformed("has more than %d values".formatted(MAX_VALUES));
        }
        int head = in.get() & 0xff;
        return switch (head) {
            case 0xc0 -> Nil.NIL;
            case 0xc2 -> false;
            case 0xc3 -> true;
            case 0xc4 -> bytes(in.get() & 0xff);
            case 0xc5 -> bytes(in.getShort() & 0xffff);
            case 0xc6 -> bytes(in.getInt());
            case 0xca -> (double) in.getFloat();
            case 0xcb -> in.getDouble();
            case 0xcc -> (long) (in.get() & 0xff);
            case 0xcd -> (long) (in.getShort() & 0xffff);
            case 0xce -> in.getInt() & 0xffff_ffffL;
            case 0xcf -> unsigned63();
            case 0xd0 -> (long) in.get();
            case 0xd1 -> (long) in.getShort();
            case 0xd2 -> (long) in.getInt();
            case 0xd3 -> in.getLong();
            case 0xd9 -> text(in.get() & 0xff);
            case 0xda -> text(in.getShort() & 0xffff);
            case 0xdb -> text(in.getInt());
            case 0xdc -> list(in.getShort() & 0xffff, depth);
            case 0xdd -> list(in.getInt(), depth);
            case 0xde -> map(in.getShort() & 0xffff, depth);
            case 0xdf -> map(in.getInt(), depth);
            default -> small(head, depth);
        };
    }

    /// Values whose first byte holds their size as well, or all of them.
    private Object small(int head, int depth) throws ProtocolException {
        if (head < 0x80 || head >= 0xe0) {
            return (long) (byte) head;
        }
        if (head < 0x90) {
            return map(head & 0x0f, depth);
        }
        if (head < 0xa0) {
            return list(head & 0x0f, depth);
        }
        if (head < 0xc0) {
            return text(head & 0x1f);
        }
        throw malformed("has a value of type 0x%02x".formatted(head));
    }

    private Map<String, Object> map(int size, int depth) throws ProtocolException {
        check(size, 2, depth);
        Map<String, Object> map = LinkedHashMap.newLinkedHashMap(Math.min(size, FIRST_PARTS));
        for (int i = 0; i < size; i++) {
            if (!(value(depth + 1) instanceof String key)) {
                throw malformed("has a key that is no text");
            }
            if (map.put(key, value(depth + 1)) != null) {
                throw malformed("has a key twice");
            }
        }
        return map;
    }

    private List<Object> list(int size, int depth) throws ProtocolException {
        check(size, 1, depth);
        List<Object> list = new ArrayList<>(Math.min(size, FIRST_PARTS));
        for (int i = 0; i < size; i++) {
            list.add(value(depth + 1));
        }
        return list;
    }

    private void check(int size, int leastBytes, int depth) throws ProtocolException {
        if (depth >= MAX_NESTING) {
            throw malformed("has more than %d levels".formatted(MAX_NESTING));
        }
        if (size < 0 || size > in.remaining() / leastBytes) {
            throw malformed("has more parts than bytes");
        }
    }

    private byte[] bytes(int size) throws ProtocolException {
        check(size, 1, 0);
        byte[] bytes = new byte[size];
        in.get(bytes);
        return bytes;
    }

    private String text(int size) throws ProtocolException {
        check(size, 1, 0);
        ByteBuffer bytes = in.slice(in.position(), size);
        in.position(in.position() + size);
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
        } catch (CharacterCodingException e) {
            throw malformed("has text that is not UTF-8");
        }
    }

    private long unsigned63() throws ProtocolException {
        long value = in.getLong();
        if (value < 0) {
            throw malformed("has a number of more than 63 bits");
        }
        return value;
    }

    private static ProtocolException malformed(String what) {
        return new ProtocolException("a MessagePack message that " + what);
    }

    /// Writes one value in the shortest form; integers may be of any integral type, and a `long[]` is a list.
    ///
    /// @throws IllegalArgumentException if it is a value of none of these types
    public static byte[] write(Object value) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try {
            write(value, new DataOutputStream(bytes));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return bytes.toByteArray();
    }

    private static void write(Object value, DataOutputStream out) throws IOException {
        switch (value) {
            case Nil _ -> out.writeByte(0xc0);
            case Boolean truth -> out.writeByte(truth ? 0xc3 : 0xc2);
            case Double number -> {
                out.writeByte(0xcb);
                out.writeDouble(number);
            }
            case Number number -> write(number.longValue(), out);
            case String text -> {
                byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
                if (utf8.length < 32) {
                    out.writeByte(0xa0 | utf8.length);
                } else {
                    head(utf8.length, 0xd9, out);
                }
                out.write(utf8);
            }
            case byte[] data -> {
                head(data.length, 0xc4, out);
                out.write(data);
            }
            case List<?> list -> {
                container(list.size(), 0x90, 0xdc, out);
                for (Object part : list) {
                    write(part, out);
                }
            }
            case long[] numbers -> {
                container(numbers.length, 0x90, 0xdc, out);
                for (long number : numbers) {
                    write(number, out);
                }
            }
            case Map<?, ?> map -> {
                container(map.size(), 0x80, 0xde, out);
                for (Map.Entry<?, ?> entry : map.entrySet()) {
                    write(entry.getKey(), out);
                    write(entry.getValue(), out);
                }
            }
            default -> throw new IllegalArgumentException("no MessagePack for " + value.getClass());
        }
    }

    /// @param form8 the byte of the form with one byte of size; those with two and four follow it
    private static void head(int size, int form8, DataOutputStream out) throws IOException {
        if (size < 1 << 8) {
            out.writeByte(form8);
            out.writeByte(size);
        } else if (size < 1 << 16) {
            out.writeByte(form8 + 1);
            out.writeShort(size);
        } else {
            out.writeByte(form8 + 2);
            out.writeInt(size);
        }
    }

    private static void container(int size, int small, int form16, DataOutputStream out) throws IOException {
        if (size < 16) {
            out.writeByte(small | size);
        } else if (size < 1 << 16) {
            out.writeByte(form16);
            out.writeShort(size);
        } else {
            out.writeByte(form16 + 1);
            out.writeInt(size);
        }
    }

    private static void write(long value, DataOutputStream out) throws IOException {
        if (value >= -32 && value < 128) {
            out.writeByte((int) value);
        } else if (value >= 0) {
            int bytes = value < 1 << 8 ? 1 : value < 1 << 16 ? 2 : value < 1L << 32 ? 4 : 8;
            integer(value, 0xcc, bytes, out);
        } else {
            int bytes = value >= Byte.MIN_VALUE ? 1 : value >= Short.MIN_VALUE ? 2 : value >= Integer.MIN_VALUE ? 4 : 8;
            integer(value, 0xd0, bytes, out);
        }
    }

    private static void integer(long value, int form8, int bytes, DataOutputStream out) throws IOException {
        out.writeByte(form8 + Integer.numberOfTrailingZeros(bytes));
        for (int i = bytes - 1; i >= 0; i--) {
            out.writeByte((int) (value >> (8 * i)));
        }
    }
}
