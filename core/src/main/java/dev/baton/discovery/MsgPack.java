package dev.baton.discovery;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Reads the MessagePack that engines announce themselves and their transfers with, as a JSON tree: maps with
/// text keys, arrays, text, numbers, booleans and nil.
///
/// Strict, because the bytes come from whoever reaches a port: binary data, extensions, a key twice, text that is
/// not UTF-8, numbers over 63 bits and anything after the value are refused, and no count is believed before the
/// bytes for it are there. Stateless and thread-safe. Format: the specification of msgpack/msgpack.
public final class MsgPack {
    /// Largest message that is read.
    public static final int MAX_BYTES = 64 << 10;

    /// Deepest nesting of maps and arrays that is read.
    public static final int MAX_NESTING = 16;

    private final ByteBuffer in;

    private MsgPack(byte[] message) {
        in = ByteBuffer.wrap(message);
    }

    /// Reads one map.
    ///
    /// @throws DiscoveryException if the message is anything else, or not one that is read here
    public static ObjectNode map(byte[] message) {
        if (message.length > MAX_BYTES) {
            throw new DiscoveryException(
                    "a MessagePack message of " + message.length + " bytes, at most " + MAX_BYTES + " are read");
        }
        MsgPack reader = new MsgPack(message);
        JsonNode value;
        try {
            value = reader.value(0);
        } catch (BufferUnderflowException e) {
            throw new DiscoveryException("a MessagePack message that ends early, after " + message.length + " bytes");
        }
        if (reader.in.hasRemaining()) {
            throw reader.malformed("something after its value");
        }
        if (!(value instanceof ObjectNode map)) {
            throw new DiscoveryException("a MessagePack message that is not a map");
        }
        return map;
    }

    private JsonNode value(int depth) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        int head = in.get() & 0xff;
        return switch (head) {
            case 0xc0 -> nodes.nullNode();
            case 0xc2 -> nodes.booleanNode(false);
            case 0xc3 -> nodes.booleanNode(true);
            case 0xca -> nodes.numberNode(in.getFloat());
            case 0xcb -> nodes.numberNode(in.getDouble());
            case 0xcc -> nodes.numberNode(in.get() & 0xff);
            case 0xcd -> nodes.numberNode(in.getShort() & 0xffff);
            case 0xce -> nodes.numberNode(in.getInt() & 0xffff_ffffL);
            case 0xcf -> nodes.numberNode(unsigned63());
            case 0xd0 -> nodes.numberNode(in.get());
            case 0xd1 -> nodes.numberNode(in.getShort());
            case 0xd2 -> nodes.numberNode(in.getInt());
            case 0xd3 -> nodes.numberNode(in.getLong());
            case 0xd9 -> nodes.stringNode(text(in.get() & 0xff));
            case 0xda -> nodes.stringNode(text(in.getShort() & 0xffff));
            case 0xdb -> nodes.stringNode(text(in.getInt()));
            case 0xdc -> array(in.getShort() & 0xffff, depth);
            case 0xdd -> array(in.getInt(), depth);
            case 0xde -> map(in.getShort() & 0xffff, depth);
            case 0xdf -> map(in.getInt(), depth);
            default -> small(head, depth);
        };
    }

    /// Values whose first byte holds their size as well, or all of them.
    private JsonNode small(int head, int depth) {
        if (head < 0x80 || head >= 0xe0) {
            return JsonNodeFactory.instance.numberNode((byte) head);
        }
        if (head < 0x90) {
            return map(head & 0x0f, depth);
        }
        if (head < 0xa0) {
            return array(head & 0x0f, depth);
        }
        if (head < 0xc0) {
            return JsonNodeFactory.instance.stringNode(text(head & 0x1f));
        }
        throw malformed("a value of type 0x%02x".formatted(head));
    }

    private ObjectNode map(int size, int depth) {
        check(size, 2, depth);
        ObjectNode map = JsonNodeFactory.instance.objectNode();
        for (int i = 0; i < size; i++) {
            JsonNode key = value(depth + 1);
            if (!key.isString()) {
                throw malformed("a key that is no text");
            }
            if (map.has(key.stringValue())) {
                throw malformed("a key twice");
            }
            map.set(key.stringValue(), value(depth + 1));
        }
        return map;
    }

    private ArrayNode array(int size, int depth) {
        check(size, 1, depth);
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (int i = 0; i < size; i++) {
            array.add(value(depth + 1));
        }
        return array;
    }

    /// @param leastBytes that each of the parts takes
    private void check(int size, int leastBytes, int depth) {
        if (depth >= MAX_NESTING) {
            throw malformed("more than " + MAX_NESTING + " levels");
        }
        if (size < 0 || size > in.remaining() / leastBytes) {
            throw malformed("more parts than bytes");
        }
    }

    private String text(int numBytes) {
        if (numBytes < 0 || numBytes > in.remaining()) {
            throw malformed("text that ends early");
        }
        ByteBuffer bytes = in.slice(in.position(), numBytes);
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
            in.position(in.position() + numBytes);
            return text;
        } catch (CharacterCodingException e) {
            throw malformed("text that is not UTF-8");
        }
    }

    private long unsigned63() {
        long value = in.getLong();
        if (value < 0) {
            throw malformed("a number of more than 63 bits");
        }
        return value;
    }

    private DiscoveryException malformed(String what) {
        return new DiscoveryException("a MessagePack message with " + what + " at byte " + in.position());
    }
}
