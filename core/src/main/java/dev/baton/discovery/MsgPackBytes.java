package dev.baton.discovery;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import tools.jackson.databind.JsonNode;

/// Writes what engines send: a JSON tree as MessagePack in the shortest forms, as Python's msgpack and msgspec do.
public final class MsgPackBytes {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final DataOutputStream out = new DataOutputStream(bytes);

    private MsgPackBytes() {}

    /// A tree of objects, arrays, text, integers, doubles, booleans and null.
    public static byte[] of(JsonNode value) {
        MsgPackBytes writer = new MsgPackBytes();
        try {
            writer.write(value);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return writer.bytes.toByteArray();
    }

    private void write(JsonNode value) throws IOException {
        if (value.isObject()) {
            head(value.size(), 0x80, 16, 0xdd);
            for (String name : value.propertyNames()) {
                text(name);
                write(value.get(name));
            }
        } else if (value.isArray()) {
            head(value.size(), 0x90, 16, 0xdb);
            for (JsonNode part : value) {
                write(part);
            }
        } else if (value.isString()) {
            text(value.stringValue());
        } else if (value.isBoolean()) {
            out.writeByte(value.booleanValue() ? 0xc3 : 0xc2);
        } else if (value.isNull()) {
            out.writeByte(0xc0);
        } else if (value.isIntegralNumber()) {
            number(value.longValue());
        } else {
            out.writeByte(0xcb);
            out.writeDouble(value.doubleValue());
        }
    }

    private void text(String text) throws IOException {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        if (utf8.length >= 32 && utf8.length < 256) {
            out.writeByte(0xd9);
            out.writeByte(utf8.length);
        } else {
            head(utf8.length, 0xa0, 32, 0xd9);
        }
        out.write(utf8);
    }

    /// @param longForm the byte before that of the form with two bytes of size
    private void head(int size, int shortForm, int shortSizes, int longForm) throws IOException {
        if (size < shortSizes) {
            out.writeByte(shortForm | size);
        } else if (size < 1 << 16) {
            out.writeByte(longForm + 1);
            out.writeShort(size);
        } else {
            out.writeByte(longForm + 2);
            out.writeInt(size);
        }
    }

    private void number(long value) throws IOException {
        if (value >= -32 && value < 128) {
            out.writeByte((int) value);
        } else if (value >= 0 && value < 1 << 8) {
            out.writeByte(0xcc);
            out.writeByte((int) value);
        } else if (value >= 0 && value < 1 << 16) {
            out.writeByte(0xcd);
            out.writeShort((int) value);
        } else if (value >= 0 && value < 1L << 32) {
            out.writeByte(0xce);
            out.writeInt((int) value);
        } else if (value >= 0) {
            out.writeByte(0xcf);
            out.writeLong(value);
        } else if (value >= Byte.MIN_VALUE) {
            out.writeByte(0xd0);
            out.writeByte((int) value);
        } else if (value >= Short.MIN_VALUE) {
            out.writeByte(0xd1);
            out.writeShort((int) value);
        } else if (value >= Integer.MIN_VALUE) {
            out.writeByte(0xd2);
            out.writeInt((int) value);
        } else {
            out.writeByte(0xd3);
            out.writeLong(value);
        }
    }
}
